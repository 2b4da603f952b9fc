//! Secrets show themselves nowhere.

use super::*;
use crate::{ClientError, store::Key, tokens::SessionSecret};
use std::fmt::Debug;
use zeroize::{Zeroize, ZeroizeOnDrop};

/// Answers at compile time whether a type can be formatted: what it says itself goes before what the trait says of all.
struct Shown<T>(std::marker::PhantomData<T>);

trait IsShown {
    const ANSWER: bool = false;
}

impl<T> IsShown for T {}

impl<T: Debug> Shown<T> {
    const ANSWER: bool = true;
}

#[test]
fn sec_087_what_holds_a_secret_cannot_be_formatted() {
    const {
        assert!(Shown::<SecretName>::ANSWER, "the question works");
        assert!(!Shown::<SessionSecret>::ANSWER);
        assert!(!Shown::<Key>::ANSWER);
        assert!(!Shown::<PassphraseFile>::ANSWER);
        assert!(!Shown::<Vault>::ANSWER);
        assert!(!Shown::<MemorySecrets>::ANSWER);
        assert!(!Shown::<KeyringSecrets>::ANSWER);
        assert!(!Shown::<crate::EngineOptions>::ANSWER);
        assert!(!Shown::<crate::Engine>::ANSWER);
    }
}

#[test]
fn sec_087_secrets_are_overwritten_when_they_go() {
    fn overwritten<T: ZeroizeOnDrop>() {}
    overwritten::<Secret>();
    overwritten::<Zeroizing<[u8; 32]>>();
    overwritten::<Zeroizing<String>>();
    let mut secret = Secret::new(vec![7; 32]);
    secret.zeroize();
    assert!(secret.is_empty());
}

#[test]
fn sec_087_errors_say_nothing_of_the_secret() {
    let secret = "unmistakable".repeat(300);
    let name = SecretName { service: "kith/errors".to_owned(), user: "session".to_owned() };
    let error = KeyringSecrets::default().set(&name, secret.as_bytes()).unwrap_err();
    let errors = [
        format!("{error} {error:?}"),
        format!("{:?}", fitting(&secret).map(drop)),
        format!("{:?}", ClientError::from(error)),
    ];
    assert!(errors.iter().all(|text| !text.contains("unmistakable")), "{errors:?}");
}
