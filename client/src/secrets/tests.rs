//! Secrets show themselves nowhere.

use super::*;
use crate::{
    ClientError,
    store::Key,
    tokens::{SessionSecret, Tokens},
};
use kith_protocol::{ClientFrame, DeviceId, UserId, api, frame::Auth};
use serde_json::json;
use std::{cell::Cell, fmt::Debug, rc::Rc};
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
        assert!(!Shown::<Hidden<String>>::ANSWER);
        assert!(!Shown::<Secret>::ANSWER);
        assert!(!Shown::<SessionSecret>::ANSWER);
        assert!(!Shown::<Tokens>::ANSWER);
        assert!(!Shown::<api::Session>::ANSWER);
        assert!(!Shown::<api::SignIn>::ANSWER);
        assert!(!Shown::<api::CreateAccount>::ANSWER);
        assert!(!Shown::<api::Refresh>::ANSWER);
        assert!(!Shown::<api::ChangePassword>::ANSWER);
        assert!(!Shown::<api::RevokeSession>::ANSWER);
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
    overwritten::<Hidden<[u8; 32]>>();
    overwritten::<Hidden<String>>();
    overwritten::<Key>();
    overwritten::<SessionSecret>();
    // What is overwritten when they go is what this overwrites: both come from the same fields.
    let mut key = Key::new([7; 32]);
    key.zeroize();
    assert_eq!(*key, [0; 32]);
    let user = json!({"id": UserId::mint(), "username": "ada", "display_name": "Ada", "version": 1});
    let session = json!({
        "access_token": "unmistakable", "access_expires_in_s": 600, "refresh_token": "unmistakable", "user": user,
        "device": {"id": DeviceId::mint(), "name": "a laptop"},
    });
    let mut secret = SessionSecret::from(serde_json::from_value::<api::Session>(session).unwrap());
    let written = |secret: &SessionSecret| serde_json::to_string(secret).unwrap();
    assert_eq!(written(&secret).matches("unmistakable").count(), 2, "both tokens are in it");
    secret.zeroize();
    assert!(!written(&secret).contains("unmistakable"), "{}", written(&secret));
}

/// Counts how often it is overwritten.
struct Spy(Rc<Cell<u32>>);

impl Zeroize for Spy {
    fn zeroize(&mut self) {
        self.0.set(self.0.get() + 1);
    }
}

#[test]
fn sec_087_a_hidden_value_is_overwritten_on_drop_and_on_request() {
    let count = Rc::new(Cell::new(0));
    let mut hidden = Hidden::new(Spy(Rc::clone(&count)));
    assert_eq!(count.get(), 0);
    hidden.zeroize();
    assert_eq!(count.get(), 1, "zeroize reaches the value");
    drop(hidden);
    assert_eq!(count.get(), 2, "dropping overwrites the value");
}

#[test]
fn sec_087_errors_say_nothing_of_the_secret() {
    let secret = "unmistakable".repeat(300);
    let name = SecretName { service: "kith/errors".to_owned(), user: "session".to_owned() };
    let error = KeyringSecrets::default().set(&name, secret.as_bytes()).unwrap_err();
    // The one frame with a token in it can be formatted, as all can.
    let frame = ClientFrame::Auth(Auth { token: secret.clone() });
    let errors = [
        format!("{frame:?}"),
        format!("{error} {error:?}"),
        format!("{:?}", fitting(&secret).map(drop)),
        format!("{:?}", ClientError::from(error)),
    ];
    assert!(errors.iter().all(|text| !text.contains("unmistakable")), "{errors:?}");
}
