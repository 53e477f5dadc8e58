//! What a link is like: names for the links that are measured most, words for all others.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use gelu_cli::commands::bench::Fields;
use serde::Serialize;

/// A link: the same in both directions.
///
/// The GELU-Net paper names three environments and does not say what their links are like, except
/// that the local one has 1 Gbit/s. **The numbers here are ours.**
///
/// | name | stands for the paper's | there and back | rate | loss |
/// |---|---|---|---|---|
/// | `loopback` | | nothing is simulated | | |
/// | `lan` | Local-Local | 0.2 ms | 1 Gbit/s | 0 |
/// | `cloud` | Cloud-Cloud | 0.5 ms | 10 Gbit/s | 0 |
/// | `wan` | Cloud-Local | 30 ms | 100 Mbit/s | 0.01 % |
///
/// Any other is written out, in the words of `tc netem`: `delay=20ms,rate=100mbit,loss=0.1%`. The delay
/// is one way; `rtt=40ms` says the same. What is left out is nothing: no delay, no bound on the rate,
/// no loss.
#[derive(Debug, Clone, PartialEq)]
pub struct Profile {
    name: String,
    delay: Duration,
    rate: Option<u64>,
    loss: f64,
}

/// Why a link cannot be simulated.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}; write loopback, lan, cloud, wan, or such as delay=20ms,rate=100mbit,loss=0.1%")]
pub struct ProfileError(String);

impl Profile {
    /// No simulation: as fast as this machine talks to itself.
    pub fn loopback() -> Self {
        Self::named("loopback", Duration::ZERO, None, 0.0)
    }

    /// A local network of 1 Gbit/s.
    pub fn lan() -> Self {
        Self::named("lan", Duration::from_micros(100), Some(1_000_000_000), 0.0)
    }

    /// Two machines of one data centre.
    pub fn cloud() -> Self {
        Self::named("cloud", Duration::from_micros(250), Some(10_000_000_000), 0.0)
    }

    /// From an office to a data centre in the same part of the world.
    pub fn wan() -> Self {
        Self::named("wan", Duration::from_millis(15), Some(100_000_000), 1e-4)
    }

    fn named(name: &str, delay: Duration, rate: Option<u64>, loss: f64) -> Self {
        Self { name: name.into(), delay, rate, loss }
    }

    /// A link of one's own, from its delay in one direction, its bits a second, and the share of
    /// segments that is lost.
    ///
    /// # Errors
    /// For a delay beyond ten seconds, a rate below 8 kbit/s, a loss of half of the segments or more.
    pub fn new(delay: Duration, rate: Option<u64>, loss: f64) -> Result<Self, ProfileError> {
        let rule = |holds: bool, why: &str| match holds {
            true => Ok(()),
            false => Err(ProfileError(why.into())),
        };
        rule(delay <= Duration::from_secs(10), "a delay is 10 s at most")?;
        rule(rate.is_none_or(|rate| rate >= 8_000), "a rate is 8kbit at least")?;
        rule((0.0..0.5).contains(&loss), "a loss is 0% or more, and below 50%")?;
        let mut link = Self { name: String::new(), delay, rate, loss };
        link.name = link.words();
        Ok(link)
    }

    /// Its name, or the words that it was written with.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// From one end to the other.
    pub fn delay(&self) -> Duration {
        self.delay
    }

    /// There and back.
    pub fn round_trip(&self) -> Duration {
        2 * self.delay
    }

    /// Bits a second, where there is a bound.
    pub fn rate(&self) -> Option<u64> {
        self.rate
    }

    /// The share of segments that is lost.
    pub fn loss(&self) -> f64 {
        self.loss
    }

    /// Whether there is nothing to simulate.
    pub fn is_transparent(&self) -> bool {
        self.delay.is_zero() && self.rate.is_none() && self.loss == 0.0
    }

    /// How long the line is taken by so many bytes.
    pub fn serialisation(&self, bytes: usize) -> Duration {
        match self.rate {
            Some(rate) => Duration::from_nanos(nanoseconds(8 * bytes as u64, rate)),
            None => Duration::ZERO,
        }
    }

    /// How long a message of so many bytes takes to arrive on an idle link without losses.
    pub fn transfer(&self, bytes: usize) -> Duration {
        self.serialisation(bytes) + self.delay
    }

    /// The most bytes that a direction holds: what the line carries in a round trip, and a buffer of
    /// 256 KiB. Without a bound on the rate it is 16 MiB, and then that is the bound.
    pub fn room(&self) -> usize {
        let Some(rate) = self.rate else { return 16 << 20 };
        let on_the_way = u128::from(rate) * self.round_trip().as_nanos() / 8 / NANOSECONDS;
        usize::try_from(on_the_way).unwrap_or(usize::MAX).saturating_add(256 << 10)
    }

    fn words(&self) -> String {
        let rate = self.rate.map_or(String::new(), |rate| format!(",rate={}", Rate(rate)));
        let loss = match self.loss {
            0.0 => String::new(),
            loss => format!(",loss={}%", 100.0 * loss),
        };
        format!("delay={}ms{rate}{loss}", milliseconds(self.delay))
    }
}

/// `wan: 30 ms there and back, 100 Mbit/s, 0.01 % of the segments lost`.
impl fmt::Display for Profile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_transparent() {
            return f.write_str("loopback: nothing is simulated");
        }
        write!(f, "{}: {} ms there and back", self.name, milliseconds(self.round_trip()))?;
        if let Some(rate) = self.rate {
            write!(f, ", {} Mbit/s", rate as f64 / 1e6)?;
        }
        match self.loss {
            0.0 => Ok(()),
            loss => write!(f, ", {} % of the segments lost", 100.0 * loss),
        }
    }
}

/// For reports: its name, and what it stands for.
impl Serialize for Profile {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        Fields {
            name: self.name.clone(),
            simulated: !self.is_transparent(),
            round_trip_ms: milliseconds(self.round_trip()),
            bits_per_second: self.rate,
            loss: self.loss,
        }
        .serialize(serializer)
    }
}

impl FromStr for Profile {
    type Err = ProfileError;

    fn from_str(text: &str) -> Result<Self, ProfileError> {
        match text {
            "loopback" => return Ok(Self::loopback()),
            "lan" => return Ok(Self::lan()),
            "cloud" => return Ok(Self::cloud()),
            "wan" => return Ok(Self::wan()),
            _ => {}
        }
        let (mut delay, mut rate, mut loss) = (Duration::ZERO, None, 0.0);
        for part in text.split(',') {
            let unknown = || ProfileError(format!("{part:?} says nothing about a link"));
            let (name, value) = part.split_once('=').ok_or_else(unknown)?;
            match name {
                "delay" => delay = time(value).ok_or_else(unknown)?,
                "rtt" => delay = time(value).ok_or_else(unknown)? / 2,
                "rate" => rate = Some(bits(value).ok_or_else(unknown)?),
                "loss" => loss = share(value).ok_or_else(unknown)?,
                _ => return Err(unknown()),
            }
        }
        Self::new(delay, rate, loss)
    }
}

/// `20ms`, `0.5ms`, `250us`, `1s`.
fn time(text: &str) -> Option<Duration> {
    let seconds = scaled(text, &[("ms", 1e-3), ("us", 1e-6), ("s", 1.0)])?;
    Duration::try_from_secs_f64(seconds).ok()
}

/// `100mbit`, `1gbit`, `512kbit`.
fn bits(text: &str) -> Option<u64> {
    let bits = scaled(text, &[("kbit", 1e3), ("mbit", 1e6), ("gbit", 1e9)])?;
    // By way of a duration: a conversion that refuses what it cannot hold.
    Some(Duration::try_from_secs_f64(bits).ok()?.as_secs())
}

/// `0.1%`.
fn share(text: &str) -> Option<f64> {
    scaled(text, &[("%", 1e-2)])
}

fn scaled(text: &str, units: &[(&str, f64)]) -> Option<f64> {
    let (number, unit) = units
        .iter()
        .find_map(|(unit, scale)| Some((text.strip_suffix(unit)?.parse::<f64>().ok()?, scale)))?;
    Some(number * unit).filter(|value| value.is_finite() && *value >= 0.0)
}

fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

/// bits / rate, rounded up.
fn nanoseconds(bits: u64, rate: u64) -> u64 {
    let exact = (u128::from(bits) * NANOSECONDS).div_ceil(u128::from(rate));
    u64::try_from(exact).unwrap_or(u64::MAX)
}

const NANOSECONDS: u128 = 1_000_000_000;

/// A rate in the largest unit that leaves a whole number.
struct Rate(u64);

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let units = [(1_000_000_000, "gbit"), (1_000_000, "mbit")];
        match units.into_iter().find(|(unit, _)| self.0.is_multiple_of(*unit)) {
            Some((unit, name)) => write!(f, "{}{name}", self.0 / unit),
            None => write!(f, "{}kbit", self.0 as f64 / 1e3),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_words_say_the_same_when_read_again() {
        for name in ["loopback", "lan", "cloud", "wan"] {
            assert_eq!(name.parse::<Profile>().unwrap().name(), name);
        }
        for words in ["delay=20ms,rate=100mbit,loss=0.1%", "delay=0.5ms,rate=1gbit", "delay=0ms"] {
            let link: Profile = words.parse().unwrap();
            assert_eq!(link.name(), words);
            assert_eq!(link.name().parse::<Profile>().unwrap(), link);
        }
        let link: Profile = "rtt=40ms,loss=0.1%,rate=512kbit".parse().unwrap();
        assert_eq!(link.delay(), Duration::from_millis(20));
        assert_eq!((link.rate(), link.loss()), (Some(512_000), 0.001));
        assert_eq!(
            Profile::wan().to_string(),
            "wan: 30 ms there and back, 100 Mbit/s, 0.01 % of the segments lost"
        );
    }

    #[test]
    fn what_is_no_link_is_refused_with_an_example() {
        for text in [
            "",
            "fast",
            "delay=20",
            "delay=-1ms",
            "rate=1kbit",
            "loss=50%",
            "delay=11s",
            "rate=infmbit",
            "jitter=1ms",
        ] {
            let error = text.parse::<Profile>().unwrap_err().to_string();
            assert!(error.contains("delay=20ms,rate=100mbit"), "{text}: {error}");
        }
    }

    /// 1 MB at 100 Mbit/s: 80 ms on the line, 15 more on the way; 375 kB fill the way there and back.
    #[test]
    fn formulas_by_hand() {
        let wan = Profile::wan();
        assert_eq!(wan.transfer(1_000_000), Duration::from_millis(95));
        assert_eq!(wan.room(), 375_000 + (256 << 10));
        assert_eq!(Profile::loopback().transfer(1_000_000), Duration::ZERO);
        assert_eq!(Profile::lan().serialisation(1), Duration::from_nanos(8));
        assert!(Profile::loopback().is_transparent() && !Profile::lan().is_transparent());
    }
}
