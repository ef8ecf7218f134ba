//! Decimals as upstreams write them, kept exactly, with how fine they were written.

/// Nanos in one.
pub(crate) const ONE: i128 = 1_000_000_000;

/// The longest text that is tried as a number, a duration or a date, in bytes.
pub(crate) const MAX_TEXT: usize = 64;

/// A decimal that is not negative, in billionths. Digits beyond the ninth are cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Number {
    /// The value in billionths: 0 to 10^24.
    pub(crate) nanos: i128,
    /// What its last written digit is worth, in billionths: 1 to [`ONE`].
    pub(crate) resolution: i128,
}

impl Number {
    /// Reads `120`, `1.5`, `2.0`. A sign, an exponent, `NaN`, more than 15 digits before the point or none on either
    /// side of it are no number: nothing of that kind is a limit, a rest or a time.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (whole, fraction) = match text.split_once('.') {
            Some((whole, fraction)) => (whole, Some(fraction)),
            None => (text, None),
        };
        let digits = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
        if text.len() > MAX_TEXT || whole.len() > 15 || !digits(whole) || !fraction.is_none_or(digits) {
            return None;
        }
        let mut nanos = whole.parse::<i128>().ok()? * ONE;
        let mut resolution = ONE;
        for digit in fraction.unwrap_or_default().bytes().take(9) {
            resolution /= 10;
            nanos += i128::from(digit - b'0') * resolution;
        }
        Some(Self { nanos, resolution })
    }

    /// The whole number below.
    pub(crate) fn floor(self) -> u64 {
        u64::try_from(self.nanos / ONE).unwrap_or(u64::MAX)
    }

    /// The whole number above.
    pub(crate) fn ceil(self) -> u64 {
        u64::try_from((self.nanos + ONE - 1) / ONE).unwrap_or(u64::MAX)
    }

    /// This less `other`, 0 if that is more.
    pub(crate) fn less(self, other: Self) -> Self {
        Self { nanos: (self.nanos - other.nanos).max(0), resolution: self.resolution.min(other.resolution) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_a_number_and_what_is_none() {
        for (text, nanos, resolution) in [
            ("0", 0, ONE),
            ("120", 120 * ONE, ONE),
            ("1.5", 1_500_000_000, ONE / 10),
            ("2.0", 2 * ONE, ONE / 10),
            ("0.1234567891", 123_456_789, 1),
            ("999999999999999", 999_999_999_999_999 * ONE, ONE),
        ] {
            assert_eq!(Number::parse(text), Some(Number { nanos, resolution }), "{text}");
        }
        for text in [
            "",
            "-1",
            "+1",
            "1e3",
            "NaN",
            "inf",
            ".5",
            "5.",
            ".",
            "1.2.3",
            "1 2",
            "0x10",
            "1000000000000000",
            "１",
        ] {
            assert_eq!(Number::parse(text), None, "{text}");
        }
        assert_eq!(Number::parse("99.999").map(|n| (n.floor(), n.ceil())), Some((99, 100)));
    }
}
