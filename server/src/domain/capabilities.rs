//! What of the optional abilities of this server each connection may use.

use kith_protocol::{ErrorCode, EventContent, capability};

/// The abilities that a connection uses: those that this server offers and its `hello` lists. Requests without a `hello` use
/// none. They bind what the client sends alone: logs have no holes, so every client gets every event whole.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Abilities(Vec<&'static str>);

impl Abilities {
    /// What both sides list; never more than is offered, whatever the client lists.
    pub fn negotiate(offered: &'static [&'static str], listed: &[String]) -> Self {
        Self(offered.iter().copied().filter(|name| listed.iter().any(|one| one == name)).collect())
    }

    /// Checks that an event needs no others.
    ///
    /// # Errors
    /// `unsupported` if it does.
    pub fn check(&self, content: &EventContent) -> Result<(), ErrorCode> {
        capability::check(content, |name| self.0.contains(&name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_uses_what_both_sides_list() {
        let listed = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        let both = Abilities::negotiate(&["a.v1", "b.v1"], &listed(&["later.v9", "b.v1", "b.v1"]));
        assert_eq!(both, Abilities(vec!["b.v1"]));
        assert_eq!(Abilities::negotiate(&["a.v1"], &[]), Abilities::default());
        assert_eq!(Abilities::negotiate(&[], &listed(&["a.v1"])), Abilities::default());
    }
}
