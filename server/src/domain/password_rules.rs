//! Which passwords are taken: of a length that can be hashed, and none that a guesser tries first.
//!
//! One set of rules for everybody who sets a password: sign-up, change and the operator. [`super::passwords`] asks here
//! before it hashes, and nothing else hashes what somebody chose.

use crate::error::ApiError;
use kith_protocol::limits;
use zxcvbn::zxcvbn;

/// A password that falls within so many guesses is refused: every one of the bundled list of 30,000, the same with
/// another case, backwards or with digits for letters, runs of the keyboard and the alphabet, repetitions, dates, names.
const GUESSES_MIN: u64 = 100_000;
/// Characters that the guesses are counted for: a password whose first ones are hard to guess is so as a whole. Counting
/// takes a millisecond, but 100 ms for 20 characters all of which may stand for letters, and more for each further one.
const COUNTED_CHARS: usize = 20;

/// Parts of names that are looked for have at least so many characters.
const NAME_PART_CHARS_MIN: usize = 3;
/// Letters and digits that a password has besides the user's names.
const REST_CHARS_MIN: usize = 5;

/// Checks the length alone, which costs nothing.
///
/// # Errors
/// [`ApiError::Invalid`].
pub(super) fn check_length(password: &str) -> Result<(), ApiError> {
    // Bytes first: a password of megabytes is not worth counting.
    let is_long = password.len() > limits::PASSWORD_CHARS_MAX * 4;
    let chars = if is_long { usize::MAX } else { password.chars().count() };
    if (limits::PASSWORD_CHARS_MIN..=limits::PASSWORD_CHARS_MAX).contains(&chars) {
        Ok(())
    } else {
        Err(ApiError::invalid("a password has 8 to 256 characters"))
    }
}

/// Checks that nobody guesses it who knows the user's `names`. Takes milliseconds: not for the runtime's threads.
///
/// # Errors
/// [`ApiError::Invalid`].
pub(super) fn check_guesses(names: &[String], password: &str) -> Result<(), ApiError> {
    if names.iter().any(|name| name.to_lowercase() == password.to_lowercase()) {
        return Err(ApiError::invalid("the password may not be the user name"));
    }
    if is_made_of(names, password) {
        return Err(ApiError::invalid("the password may not be made of the user's names"));
    }
    let counted: String = password.chars().take(COUNTED_CHARS).collect();
    let plain = counted.to_lowercase();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let is_weak = |text: &str| zxcvbn(text, &names).guesses() < GUESSES_MIN;
    // Another case adds little: whoever guesses tries it, too.
    if is_weak(&counted) || (plain != counted && is_weak(&plain)) {
        return Err(ApiError::invalid(
            "the password is too easy to guess: it is one of the most used, or like them. \
             Four or more words that do not belong together make a good one",
        ));
    }
    Ok(())
}

/// Whether little is left of a password without the names' parts, whatever their case and order.
fn is_made_of(names: &[String], password: &str) -> bool {
    let fold = |text: &str| text.to_lowercase();
    let plain = |text: &str| text.chars().filter(|c| c.is_alphanumeric()).collect::<String>();
    let mut parts: Vec<String> = Vec::new();
    for name in names {
        let name = fold(name);
        parts.extend(name.split(|c: char| !c.is_alphanumeric()).map(str::to_owned));
        parts.push(plain(&name));
    }
    parts.retain(|part| part.chars().count() >= NAME_PART_CHARS_MIN);
    parts.sort_by_key(|part| std::cmp::Reverse(part.len()));
    let whole = plain(&fold(password));
    let rest = parts.iter().fold(whole.clone(), |rest, part| rest.replace(part.as_str(), ""));
    rest.len() < whole.len() && rest.chars().count() < REST_CHARS_MIN
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(password: &str) -> Result<(), ApiError> {
        let names = ["ada.lovelace".to_owned(), "Ada Lovelace".to_owned()];
        check_length(password).and_then(|()| check_guesses(&names, password))
    }

    #[test]
    fn sec_001_a_password_has_8_to_256_characters_of_any_script() {
        for bad in ["", "kl7vQ2x", &"🙂".repeat(257), &"x".repeat(100_000)] {
            assert!(check(bad).is_err(), "{bad:?}");
        }
        let mixed = "žluťoučký kůň 🐎 пёс 犬 \u{7}\u{202e}".chars().cycle();
        let long = |chars: usize| mixed.clone().take(chars).collect::<String>();
        for good in ["kl7#vQ2x", &long(128), &long(256)] {
            assert!(check(good).is_ok(), "{good:?}");
        }
    }

    #[test]
    fn sec_002_what_is_tried_first_is_refused_and_what_is_hard_to_guess_is_not() {
        for bad in [
            "password",
            "12345678",
            "iloveyou",
            "sunshine",
            "football",
            "PassWord",
            "P@ssw0rd",
            "drowssap",
            "qwertyui",
            "aaaaaaaa",
            "abcdefgh",
            "abcabcabc",
            "19840229",
            "ada.lovelace",
            "Ada.Lovelace",
            "Ada Lovelace",
            "ecalevol.ada",
            "PASSWORD",
            "PASSWORD1",
            "ILOVEYOU",
            "adalovelace",
            "ADALOVELACE",
            "lovelace.ada",
            "Lovelace2026",
            "Ada_Lovelace!1",
            "adaadaada",
            &"a".repeat(200),
        ] {
            assert!(check(bad).is_err(), "{bad:?}");
        }
        for good in ["correct horse battery", "ada keeps a secret", "kl7#vQ2x", "new and long"] {
            assert!(check(good).is_ok(), "{good:?}");
        }
    }
}
