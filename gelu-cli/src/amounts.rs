//! Amounts as people read them.

/// `8.2 s`, `1 min 23 s`, `45 ms`.
pub fn seconds(s: f64) -> String {
    match s {
        s if s < 0.0995 => format!("{:.0} ms", s * 1e3),
        s if s < 9.95 => format!("{s:.1} s"),
        s if s < 99.5 => format!("{s:.0} s"),
        s => format!("{} min {} s", s.round().div_euclid(60.0), s.round().rem_euclid(60.0)),
    }
}

/// `1.5 MB`, in powers of ten.
pub fn bytes(n: u64) -> String {
    let x = n as f64;
    match n {
        0..1_000 => format!("{n} B"),
        1_000..1_000_000 => format!("{:.1} kB", x / 1e3),
        1_000_000..1_000_000_000 => format!("{:.1} MB", x / 1e6),
        _ => format!("{:.2} GB", x / 1e9),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_read_well() {
        assert_eq!([0.045, 8.24, 42.4, 83.0].map(seconds), ["45 ms", "8.2 s", "42 s", "83 s"]);
        assert_eq!([150.2, 119.7].map(seconds), ["2 min 30 s", "2 min 0 s"]);
        assert_eq!([999, 1500, 2_000_000].map(bytes), ["999 B", "1.5 kB", "2.0 MB"]);
    }
}
