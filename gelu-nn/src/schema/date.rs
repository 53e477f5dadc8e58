//! Days and seasons: what a network can read of a date.

use std::f64::consts::TAU;
use std::fmt;

use serde::{Deserialize, Serialize};

use super::column::{Missing, Scale};

/// A column of dates as ISO 8601 writes them, `2024-02-29`; a time of day after it is not read.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Date {
    /// Its name.
    pub name: String,
    /// What becomes of it.
    #[serde(rename = "as")]
    pub features: Vec<DateFeature>,
    /// What to do where there is no value.
    #[serde(default, skip_serializing_if = "Missing::is_default")]
    pub missing: Missing,
    /// Nothing, or a scale for each feature.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub scales: Vec<Scale>,
}

/// A number derived from a date.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DateFeature {
    /// Days since 1970-01-01.
    Days,
    /// sin(2π (month − 1) / 12): December is next to January.
    MonthSin,
    /// cos(2π (month − 1) / 12).
    MonthCos,
    /// sin(2π weekday / 7), Monday being 0.
    WeekdaySin,
    /// cos(2π weekday / 7).
    WeekdayCos,
}

impl DateFeature {
    /// Of the date so many days after 1970-01-01.
    pub(super) fn of(self, days: i64) -> f64 {
        let month = || TAU * (month_of(days) - 1) as f64 / 12.0;
        // 1970-01-01 was a Thursday.
        let weekday = || TAU * (days + 3).rem_euclid(7) as f64 / 7.0;
        match self {
            Self::Days => days as f64,
            Self::MonthSin => libm::sin(month()),
            Self::MonthCos => libm::cos(month()),
            Self::WeekdaySin => libm::sin(weekday()),
            Self::WeekdayCos => libm::cos(weekday()),
        }
    }
}

impl fmt::Display for DateFeature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Days => "days",
            Self::MonthSin => "month_sin",
            Self::MonthCos => "month_cos",
            Self::WeekdaySin => "weekday_sin",
            Self::WeekdayCos => "weekday_cos",
        })
    }
}

/// Days from 1970-01-01 to the date `YYYY-MM-DD`, which a `T` or a blank and a time of day may follow.
pub(super) fn days(text: &str) -> Option<i64> {
    let (date, rest) = text.split_at_checked(10)?;
    if !(rest.is_empty() || rest.starts_with([' ', 'T'])) {
        return None;
    }
    let mut parts = date.split('-');
    let mut part = |digits: usize| {
        let part = parts.next().filter(|part| part.len() == digits)?;
        part.bytes().all(|b| b.is_ascii_digit()).then(|| part.parse::<i64>().ok())?
    };
    let (year, month, day) = (part(4)?, part(2)?, part(2)?);
    let exists = (1..=12).contains(&month) && day >= 1 && day <= length_of(year, month);
    exists.then(|| days_to(year, month) + day - 1)
}

fn is_leap(year: i64) -> bool {
    year % 4 == 0 && (year % 100 != 0 || year % 400 == 0)
}

/// Days of a month.
fn length_of(year: i64, month: i64) -> i64 {
    match month {
        2 => 28 + i64::from(is_leap(year)),
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Days from 1970-01-01 to the first of a month.
fn days_to(year: i64, month: i64) -> i64 {
    // Leap years before this one, counted from the year 0 of the Gregorian calendar.
    let before = |year: i64| {
        let y = year - 1;
        365 * year + y.div_euclid(4) - y.div_euclid(100) + y.div_euclid(400)
    };
    before(year) - before(1970) + (1..month).map(|m| length_of(year, m)).sum::<i64>()
}

fn month_of(days: i64) -> i64 {
    // No later than the right one, and at most a few years before it.
    let mut year = 1970 + days.div_euclid(if days < 0 { 365 } else { 366 });
    while days_to(year + 1, 1) <= days {
        year += 1;
    }
    (1..=12).rev().find(|&month| days_to(year, month) <= days).unwrap_or(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_are_those_of_the_calendar() {
        for (text, expected) in [
            ("1970-01-01", 0),
            ("1969-12-31", -1),
            ("2000-03-01", 11_017),
            ("2024-02-29", 19_782),
            ("2024-03-01T23:59:59", 19_783),
            ("1900-03-01 00:00", -25_508),
            ("0001-01-01", -719_162),
            ("9999-12-31", 2_932_896),
        ] {
            assert_eq!(days(text), Some(expected), "{text}");
        }
        for text in [
            "2023-02-29",
            "1900-02-29",
            "2024-13-01",
            "2024-00-01",
            "2024-1-01",
            "24-01-01",
            "",
            "2024-01-01x",
            "2024-01-0é",
            "+024-01-01",
            "01/02/2024",
            "2024-04-31",
        ] {
            assert_eq!(days(text), None, "{text}");
        }
    }

    /// Day after day through leap years of all kinds, the counts go up by one and months and weekdays follow.
    #[test]
    fn every_day_has_its_month_and_weekday() {
        for year in [1896, 1900, 1970, 1999, 2000, 2023, 2024] {
            let mut expected = days(&format!("{year}-01-01")).unwrap();
            for month in 1..=12 {
                for day in 1..=length_of(year, month) {
                    assert_eq!(days(&format!("{year}-{month:02}-{day:02}")), Some(expected));
                    assert_eq!(month_of(expected), month);
                    expected += 1;
                }
            }
        }
        // 2024-02-29 was a Thursday, 2024-03-04 a Monday.
        let weekday = |text| DateFeature::WeekdayCos.of(days(text).unwrap());
        assert_eq!(weekday("2024-03-04"), 1.0);
        assert!((weekday("2024-02-29") - (TAU * 3.0 / 7.0).cos()).abs() < 1e-12);
        let april = days("2024-04-15").unwrap();
        assert!((DateFeature::MonthSin.of(april) - 1.0).abs() < 1e-12);
        assert!(DateFeature::MonthCos.of(april).abs() < 1e-12);
    }
}
