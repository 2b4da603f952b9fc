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
    let counted: String = password.chars().take(COUNTED_CHARS).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    if zxcvbn(&counted, &names).guesses() < GUESSES_MIN {
        return Err(ApiError::invalid(
            "the password is too easy to guess: it is one of the most used, or like them. \
             Four or more words that do not belong together make a good one",
        ));
    }
    Ok(())
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
            &"a".repeat(200),
        ] {
            assert!(check(bad).is_err(), "{bad:?}");
        }
        for good in ["correct horse battery", "ada keeps a secret", "kl7#vQ2x", "new and long"] {
            assert!(check(good).is_ok(), "{good:?}");
        }
    }
}
