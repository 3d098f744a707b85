//! Durations and sizes as people write them: `250ms`, `2s`, `32KiB`.

use std::time::Duration;

/// `2s`, `250ms`, `5m`, `1h`; `0` for none.
pub(super) fn duration(text: &str) -> Option<Duration> {
    let (number, unit) = split(text)?;
    let seconds = match unit {
        "" if number == 0.0 => 0.0,
        "us" => number / 1e6,
        "ms" => number / 1e3,
        "s" => number,
        "m" => number * 60.0,
        "h" => number * 3_600.0,
        _ => return None,
    };
    Duration::try_from_secs_f64(seconds).ok()
}

/// `4096`, `32KiB`, `1MiB`, `2GiB`, and the decimal `kB`, `MB`, `GB`.
pub(super) fn size(text: &str) -> Option<u64> {
    let (number, unit) = split(text)?;
    let scale = match unit {
        "" | "B" => 1.0,
        "kB" => 1e3,
        "MB" => 1e6,
        "GB" => 1e9,
        "KiB" => 1024.0,
        "MiB" => 1_048_576.0,
        "GiB" => 1_073_741_824.0,
        _ => return None,
    };
    let bytes = number * scale;
    // Beyond 2⁵³ a float no longer counts single bytes.
    (bytes.fract() == 0.0 && bytes < 9e15).then_some(bytes as u64)
}

fn split(text: &str) -> Option<(f64, &str)> {
    let text = text.trim();
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let number = text[..end].parse().ok()?;
    Some((number, text[end..].trim()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_people_write() {
        assert_eq!(duration("250ms"), Some(Duration::from_millis(250)));
        assert_eq!(duration("1.5 s"), Some(Duration::from_millis(1_500)));
        assert_eq!(duration("2m"), Some(Duration::from_secs(120)));
        assert_eq!(duration("0"), Some(Duration::ZERO));
        assert!(["", "5", "s", "-1s", "1 fortnight", "1e400s"].iter().all(|t| duration(t).is_none()));
        assert_eq!(size("32KiB"), Some(32_768));
        assert_eq!(size("2 GiB"), Some(2_147_483_648));
        assert!(["0.3B", "-1", "1TiBs", "99999999GiB"].iter().all(|t| size(t).is_none()));
    }

    /// What is written is read, in every unit; and no text is more than can be counted.
    #[test]
    fn any_number_is_itself_and_any_text_is_safe() {
        let mut rng = lb_core::Rng::seeded(12);
        for _ in 0..20_000 {
            let n = rng.below(1 << 20) >> rng.below(20);
            let whole = u64::from(n);
            for (unit, micros) in [("us", 1), ("ms", 1_000), ("s", 1_000_000), ("m", 60_000_000)] {
                let expected = Duration::from_micros(whole * micros);
                let read = duration(&format!("{n}{unit}")).unwrap();
                assert!(read.abs_diff(expected) <= Duration::from_nanos(1), "{n}{unit} is {read:?}");
            }
            for (unit, bytes) in
                [("", 1), ("kB", 1_000), ("KiB", 1 << 10), ("MiB", 1 << 20), ("GiB", 1 << 30)]
            {
                let exact = whole * bytes;
                assert_eq!(size(&format!("{n} {unit}")), (exact < 9_000_000_000_000_000).then_some(exact));
            }
            let piece =
                |rng: &mut lb_core::Rng| char::from(b"0123456789.smhuKiMGB -+eE"[rng.below(25) as usize]);
            let text: String = (0..rng.below(12)).map(|_| piece(&mut rng)).collect();
            assert!(size(&text).is_none_or(|bytes| bytes < 9_000_000_000_000_000), "{text}");
            assert_eq!(duration(&format!(" {text} ")), duration(&text), "{text}");
        }
    }
}
