//! The API token: what makes one fit, and the digest that is all the server keeps of it.

use secrecy::{ExposeSecret, SecretString};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

/// Fewest characters of a token: fewer can be guessed.
pub const MIN_TOKEN_LENGTH: usize = 16;

/// Why a token will not do. The token itself never appears.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UnfitToken {
    /// It can be guessed.
    #[error("the token has {0} characters, {MIN_TOKEN_LENGTH} are the least")]
    Short(usize),
    /// A header cannot carry it.
    #[error("the token holds a blank, a control character or a character outside of ASCII")]
    Characters,
}

/// Checks that a token is long enough, and that a header can carry it.
pub fn check_token(token: &SecretString) -> Result<(), UnfitToken> {
    let token = token.expose_secret();
    if !token.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(UnfitToken::Characters);
    }
    if token.len() < MIN_TOKEN_LENGTH {
        return Err(UnfitToken::Short(token.len()));
    }
    Ok(())
}

/// What is kept of a token.
#[derive(Clone)]
pub(crate) struct TokenDigest([u8; 32]);

impl TokenDigest {
    pub(crate) fn new(token: &SecretString) -> Self {
        Self(Sha256::digest(token.expose_secret()).into())
    }

    /// Digests have one length whatever the tokens' are, and comparing them takes one time wherever they differ.
    pub(crate) fn matches(&self, presented: &str) -> bool {
        let presented: [u8; 32] = Sha256::digest(presented).into();
        self.0.ct_eq(&presented).into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_must_be_long_and_plain() {
        for (token, expected) in [
            ("0123456789abcdef", Ok(())),
            ("a+/b0123456789abcdef==", Ok(())),
            ("0123456789abcde", Err(UnfitToken::Short(15))),
            ("", Err(UnfitToken::Short(0))),
            ("0123456789 abcdef", Err(UnfitToken::Characters)),
            ("0123456789abcdef\n", Err(UnfitToken::Characters)),
            ("0123456789äbcdef", Err(UnfitToken::Characters)),
        ] {
            assert_eq!(check_token(&SecretString::from(token)), expected, "{token:?}");
        }
    }
}
