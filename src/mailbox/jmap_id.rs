//! The jmapId that 3.13.1 and later need for every mailbox: `P` and a number in base64 without its leading zero bytes
//! (`lib/util.h:140` of 3.13.7, MODSEQ_TO_JMAPID; `facts/headers.md` 3).

use base64::Engine;
use base64::alphabet::Alphabet;
use base64::engine::{GeneralPurpose, general_purpose::NO_PAD};

/// Digits that sort as their values do.
const ALPHABET: Alphabet = match Alphabet::new("-0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ_abcdefghijklmnopqrstuvwxyz") {
    Ok(alphabet) => alphabet,
    Err(_) => panic!("64 different digits"),
};

static BASE64: GeneralPurpose = GeneralPurpose::new(&ALPHABET, NO_PAD);

/// Returns a jmapId for a mailbox whose header has none: 64 bits made from its uniqueid. It must be unique for each
/// user. The servers make theirs from modseqs, which are far smaller numbers.
pub fn of(uniqueid: &[u8]) -> Vec<u8> {
    let digits: Vec<u64> = uniqueid.iter().filter(|b| **b != b'-').map_while(|b| hex(*b)).collect();
    // Old uniqueids and UUIDs are hexadecimal. Of others all bytes are hashed (FNV-1a).
    let number = match digits.len() == uniqueid.iter().filter(|b| **b != b'-').count() && digits.len() >= 16 {
        true => digits.chunks(16).map(|half| half.iter().fold(0, |n, d| n << 4 | d)).fold(0, |n, half: u64| n ^ half),
        false => uniqueid
            .iter()
            .fold(0xcbf2_9ce4_8422_2325, |n: u64, b| (n ^ u64::from(*b)).wrapping_mul(0x0000_0100_0000_01b3)),
    };
    let mut id = "P".to_string();
    BASE64.encode_string(&number.to_be_bytes()[number.leading_zeros() as usize / 8 % 8..], &mut id);
    id.into_bytes()
}

fn hex(byte: u8) -> Option<u64> {
    char::from(byte).to_digit(16).map(u64::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jmap_ids_are_those_of_the_servers() {
        // The jmapIds that 3.13.7 makes of the modseqs 1, 2 and 26 (corpus/3.13.7).
        for (uniqueid, id) in [
            ("0000000000000001", "P-F"),
            ("0000000000000002", "P-V"),
            ("000000000000001a", "P5V"),
            ("00000000-0000-0000-0000-000000000001", "P-F"),
        ] {
            assert_eq!(String::from_utf8_lossy(&of(uniqueid.as_bytes())), id);
        }
        assert_eq!(of(b"c8c39809-f76a-4396-9973-e60e14094c80").len(), 12);
        assert_ne!(of(b"k4qds7gmo5s1t689rf2w74nl"), of(b"k4qds7gmo5s1t689rf2w74nm"));
    }
}
