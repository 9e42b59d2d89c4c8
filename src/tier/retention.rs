//! Rolling backups: which of a series of snapshots stay, so that a long past takes little room.
//!
//! `daily 14, weekly 8, monthly 12` keeps the newest snapshot of each of the last fourteen days that have one, then of eight weeks that are
//! not covered yet, then of twelve months. What counts are days that have a snapshot, not days that went by: where backups stop, nothing
//! more goes. Days are UTC's, weeks begin on Monday.

use std::collections::BTreeSet;
use std::fmt;

use jiff::civil::{Date, ISOWeekDate};

/// What stays of a series.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Retention {
    /// So many of the newest, whatever their dates.
    pub newest: u32,
    /// The newest of so many days.
    pub daily: u32,
    /// Then the newest of so many weeks.
    pub weekly: u32,
    /// Then the newest of so many months.
    pub monthly: u32,
    /// Then the newest of so many years.
    pub yearly: u32,
}

/// What of a day tells its day, week, month or year from the next.
type Period = fn(Date) -> (i16, i16);

impl Retention {
    /// Whether it keeps nothing: then it says nothing.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Which of a series' moments stay, each a snapshot's. The newest always does; one that lies after `today` stays as well, and is not
    /// counted: a clock was wrong somewhere, and nothing is thrown away for that.
    pub fn kept<M: Moment>(&self, snapshots: &BTreeSet<M>, today: Date) -> BTreeSet<M> {
        let mut kept: BTreeSet<M> = snapshots.iter().filter(|snapshot| snapshot.date() > today).cloned().collect();
        let past = || snapshots.iter().rev().filter(|snapshot| snapshot.date() <= today);
        kept.extend(past().take(self.newest.max(1) as usize).cloned());
        let rules: [(u32, Period); 4] = [
            (self.daily, |date| (date.year(), date.day_of_year())),
            (self.weekly, |date| {
                let week: ISOWeekDate = date.iso_week_date();
                (week.year(), week.week().into())
            }),
            (self.monthly, |date| (date.year(), date.month().into())),
            (self.yearly, |date| (date.year(), 0)),
        ];
        // What "newest" keeps is counted by the rules as well: it is one of its day.
        let mut covered: BTreeSet<M> = BTreeSet::new();
        for (count, period) in rules {
            let mut left = count;
            let mut last = None;
            for snapshot in past() {
                let of = Some(period(snapshot.date()));
                if left == 0 {
                    break;
                }
                if last != of {
                    last = of;
                    if covered.insert(snapshot.clone()) {
                        left -= 1;
                    }
                }
            }
        }
        kept.extend(covered);
        kept
    }
}

/// When a snapshot was taken: ordered, newest last.
pub trait Moment: Ord + Clone {
    /// Its day, UTC.
    fn date(&self) -> Date;
}

impl Moment for Date {
    fn date(&self) -> Date {
        *self
    }
}

impl fmt::Display for Retention {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parts = [("newest", self.newest), ("daily", self.daily), ("weekly", self.weekly), ("monthly", self.monthly), ("yearly", self.yearly)];
        let words: Vec<String> = parts.iter().filter(|(_, count)| *count > 0).map(|(word, count)| format!("{word} {count}")).collect();
        f.write_str(&words.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use jiff::ToSpan;
    use proptest::prelude::*;

    const ROLLING: Retention = Retention { newest: 0, daily: 14, weekly: 8, monthly: 12, yearly: 0 };

    fn day(text: &str) -> Date {
        text.parse().expect("a date")
    }

    #[test]
    fn two_years_of_daily_backups_leave_what_the_rule_says() {
        let first = day("2024-01-01");
        let mut held: BTreeSet<Date> = BTreeSet::new();
        for n in 0..730 {
            let today = first.checked_add(n.days()).expect("a date");
            held.insert(today);
            held = ROLLING.kept(&held, today);
            assert!(held.contains(&today), "the newest of {today}");
            for back in 0..n.min(14) {
                let recent = today.checked_sub(back.days()).expect("a date");
                assert!(held.contains(&recent), "{recent} on {today}: each of the last fourteen days");
            }
            assert!(held.len() <= 14 + 8 + 12, "{} on {today}", held.len());
            // Thrown away day by day, as much is left as if everything had been there until today.
            let everything: BTreeSet<Date> = (0..=n).map(|n| first.checked_add(n.days()).expect("a date")).collect();
            assert_eq!(held, ROLLING.kept(&everything, today), "on {today}");
        }
        let today = day("2025-12-30");
        assert_eq!(held.last(), Some(&today));
        let old: Vec<String> = held.iter().rev().skip(14).map(ToString::to_string).collect();
        assert_eq!(
            old,
            [
                // Sundays, of the eight weeks before the last fourteen days.
                "2025-12-14",
                "2025-12-07",
                "2025-11-30",
                "2025-11-23",
                "2025-11-16",
                "2025-11-09",
                "2025-11-02",
                "2025-10-26",
                // The last days of twelve months: November's is a Sunday that stays anyway.
                "2025-10-31",
                "2025-09-30",
                "2025-08-31",
                "2025-07-31",
                "2025-06-30",
                "2025-05-31",
                "2025-04-30",
                "2025-03-31",
                "2025-02-28",
                "2025-01-31",
                "2024-12-31",
                "2024-11-30",
            ]
            .iter()
            .map(|text| day(text))
            .collect::<BTreeSet<_>>()
            .iter()
            .rev()
            .map(ToString::to_string)
            .collect::<Vec<_>>()
        );
    }

    #[test]
    fn where_backups_stop_nothing_more_goes() {
        let snapshots: BTreeSet<Date> = (0..40).map(|n| day("2024-01-01").checked_add(n.days()).expect("a date")).collect();
        let at_the_end = ROLLING.kept(&snapshots, day("2024-02-09"));
        assert_eq!(ROLLING.kept(&at_the_end, day("2034-02-09")), at_the_end);
    }

    #[test]
    fn what_lies_in_the_future_stays_and_is_not_counted() {
        let snapshots: BTreeSet<Date> = ["2024-01-01", "2024-01-02", "2030-01-01"].iter().map(|text| day(text)).collect();
        let kept = Retention { newest: 1, ..Retention::default() }.kept(&snapshots, day("2024-01-03"));
        assert_eq!(kept, ["2024-01-02", "2030-01-01"].iter().map(|text| day(text)).collect());
    }

    proptest! {
        #[test]
        fn never_less_than_the_newest_and_never_more_than_asked(
            days in proptest::collection::btree_set(0i32..2000, 1..60),
            newest in 0u32..4, daily in 0u32..10, weekly in 0u32..10, monthly in 0u32..10, yearly in 0u32..4,
        ) {
            let rule = Retention { newest, daily, weekly, monthly, yearly };
            let snapshots: BTreeSet<Date> = days.iter().map(|n| day("2020-01-01").checked_add(n.days()).expect("a date")).collect();
            let kept = rule.kept(&snapshots, day("2030-01-01"));
            prop_assert!(kept.is_subset(&snapshots));
            prop_assert_eq!(kept.last(), snapshots.last());
            prop_assert!(kept.len() as u32 <= newest.max(1) + daily + weekly + monthly + yearly);
            prop_assert!(kept.len() >= snapshots.len().min(newest.max(daily) as usize));
            // What is left is what it would leave again.
            prop_assert_eq!(rule.kept(&kept, day("2030-01-01")), kept.clone());
            // A larger rule keeps no less of what it counts in days.
            let more = Retention { daily: daily + 1, weekly: 0, monthly: 0, yearly: 0, newest };
            let less = Retention { weekly: 0, monthly: 0, yearly: 0, ..rule };
            prop_assert!(less.kept(&snapshots, day("2030-01-01")).is_subset(&more.kept(&snapshots, day("2030-01-01"))));
        }
    }
}
