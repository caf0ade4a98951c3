//! Signatures of webhooks. Source: "Standard Webhooks", version 1.0.0, symmetric signatures.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

/// How a key begins.
const PREFIX: &str = "whsec_";
/// Bytes of a key.
const LENGTH: std::ops::RangeInclusive<usize> = 24..=64;
/// The most keys of a Secret: enough to change them, and bounded.
const MOST: usize = 4;

/// A key that signs. It is never shown.
pub struct Key(Hmac<Sha256>);

/// Reads the keys of a Secret, separated by white space. Returns none if one of them is no key, or there are none or too
/// many.
pub fn keys(text: &str) -> Option<Vec<Key>> {
    let keys: Option<Vec<Key>> = text.split_whitespace().take(MOST + 1).map(key).collect();
    keys.filter(|keys| (1..=MOST).contains(&keys.len()))
}

fn key(text: &str) -> Option<Key> {
    let bytes = STANDARD.decode(text.strip_prefix(PREFIX)?).ok()?;
    let bytes = Some(bytes).filter(|bytes| LENGTH.contains(&bytes.len()))?;
    Hmac::new_from_slice(&bytes).ok().map(Key)
}

/// Returns the value of the header `webhook-signature`, with a signature of each key. `timestamp` is in seconds since
/// 1970; neither it nor the identifier has a full stop.
pub fn signature(keys: &[Key], id: &str, timestamp: i64, body: &[u8]) -> String {
    let one = |Key(mac): &Key| {
        let mut mac = mac.clone();
        mac.update(format!("{id}.{timestamp}.").as_bytes());
        mac.update(body);
        format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes()))
    };
    keys.iter().map(one).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

    /// Source: the test vector that the libraries of Standard Webhooks share.
    #[test]
    fn a_signature_is_that_of_standard_webhooks() {
        let of = |keys: &str| {
            let keys = super::keys(keys).unwrap();
            signature(&keys, "msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, br#"{"test": 2432232314}"#)
        };
        let expected = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=";
        assert_eq!(of(&format!("{KEY}\n")), expected);
        let other = format!("whsec_{}", STANDARD.encode([7; 32]));
        let both = of(&format!("{other} {KEY}"));
        assert!(both.starts_with("v1,") && both.ends_with(&format!(" {expected}")), "{both}");
    }

    #[test]
    fn what_is_no_key_signs_nothing() {
        let of = |bytes: usize| format!("whsec_{}", STANDARD.encode(vec![1; bytes]));
        for (text, expected) in [
            (of(24), Some(1)),
            (of(64), Some(1)),
            (format!("{} {}\n{}\t{}", of(24), of(25), of(26), of(27)), Some(4)),
            (format!("{KEY} {KEY} {KEY} {KEY} {KEY}"), None),
            (of(23), None),
            (of(65), None),
            ("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw".into(), None),
            ("whsec_?".into(), None),
            (format!("{KEY} x"), None),
            (String::new(), None),
        ] {
            assert_eq!(keys(&text).map(|keys| keys.len()), expected, "{text}");
        }
    }
}
