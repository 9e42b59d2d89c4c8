//! How wide a pipe is at which time of the day.

use jiff::civil::{Date, Time};
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan};

/// Most bytes a second in each direction; `None` is no limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Widths {
    /// What is read from stores. What is written was read before, so that this limits both.
    pub read: Option<u64>,
    /// What is written to stores.
    pub write: Option<u64>,
}

/// Widths over the day: each entry holds from its time on until that of the next one, past midnight too.
///
/// Where a change of the clock skips a time, its entry begins as much later; where a time comes twice, its entry begins with the first.
#[derive(Debug, Clone, PartialEq)]
pub struct Timetable {
    entries: Vec<(Time, Widths)>,
    zone: TimeZone,
}

impl Timetable {
    /// The same widths at all times.
    pub fn constant(widths: Widths) -> Self {
        Self { entries: vec![(Time::midnight(), widths)], zone: TimeZone::UTC }
    }

    /// Widths that change at these times of each day in a time zone. `None` where there are no entries.
    pub fn daily(entries: Vec<(Time, Widths)>, zone: TimeZone) -> Option<Self> {
        (!entries.is_empty()).then_some(Self { entries, zone })
    }

    /// The widths at a moment, and when they next change; `None` where they never do.
    pub fn at(&self, now: Timestamp) -> (Widths, Option<Timestamp>) {
        if let [(_, widths)] = self.entries[..] {
            return (widths, None);
        }
        let today = self.zone.to_datetime(now).date();
        let days = [today.checked_sub(1.day()), Ok(today), today.checked_add(1.day())];
        let begins = |day: Date, time: Time| day.to_datetime(time).to_zoned(self.zone.clone()).map(|begin| begin.timestamp());
        let all = days.into_iter().flatten().flat_map(|day| self.entries.iter().filter_map(move |(time, widths)| Some((begins(day, *time).ok()?, *widths))));
        let (mut last, mut next) = (None, None);
        for (begin, widths) in all {
            if begin <= now {
                last = last.filter(|(other, _)| *other > begin).or(Some((begin, widths)));
            } else {
                next = next.filter(|other| *other < begin).or(Some(begin));
            }
        }
        (last.map_or_else(Widths::default, |(_, widths)| widths), next)
    }

    /// Whether anything is ever limited that is read, and that is written.
    pub fn limits(&self) -> (bool, bool) {
        let ever = |width: fn(&Widths) -> Option<u64>| self.entries.iter().any(|(_, widths)| width(widths).is_some());
        (ever(|widths| widths.read), ever(|widths| widths.write))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(zone: &str, entries: &[(i8, i8, u64)]) -> Timetable {
        let entries = entries.iter().map(|(hour, minute, read)| (Time::constant(*hour, *minute, 0, 0), Widths { read: Some(*read), write: None }));
        Timetable::daily(entries.collect(), TimeZone::get(zone).expect("a time zone")).expect("entries")
    }

    fn at(table: &Timetable, now: &str) -> (u64, String) {
        let (widths, next) = table.at(now.parse().expect("a time"));
        (widths.read.expect("limited"), next.expect("it changes").to_string())
    }

    #[test]
    fn the_night_goes_past_midnight() {
        let table = table("Asia/Shanghai", &[(8, 0, 20), (20, 0, 99)]);
        assert_eq!(at(&table, "2026-01-01T00:00:00Z"), (20, "2026-01-01T12:00:00Z".into()), "eight in the morning");
        assert_eq!(at(&table, "2026-01-01T11:59:59Z"), (20, "2026-01-01T12:00:00Z".into()));
        assert_eq!(at(&table, "2026-01-01T12:00:00Z"), (99, "2026-01-02T00:00:00Z".into()));
        assert_eq!(at(&table, "2026-01-01T23:59:59Z"), (99, "2026-01-02T00:00:00Z".into()));
    }

    #[test]
    fn the_order_of_the_entries_does_not_matter() {
        let (one, other) = (table("UTC", &[(8, 0, 1), (12, 0, 2), (18, 30, 3)]), table("UTC", &[(18, 30, 3), (8, 0, 1), (12, 0, 2)]));
        for hour in 0..24 {
            let now = format!("2026-05-05T{hour:02}:45:00Z");
            assert_eq!(at(&one, &now), at(&other, &now));
        }
        assert_eq!(at(&one, "2026-05-05T18:45:00Z"), (3, "2026-05-06T08:00:00Z".into()));
    }

    #[test]
    fn a_change_of_the_clock_loses_no_entry() {
        let table = table("Europe/Berlin", &[(2, 30, 1), (12, 0, 2)]);
        // 02:00 becomes 03:00, so that 02:30 is at 03:30.
        assert_eq!(at(&table, "2026-03-29T01:15:00Z"), (2, "2026-03-29T01:30:00Z".into()));
        assert_eq!(at(&table, "2026-03-29T01:30:00Z"), (1, "2026-03-29T10:00:00Z".into()));
        // 03:00 becomes 02:00, so that 02:30 comes twice.
        assert_eq!(at(&table, "2026-10-25T00:29:00Z"), (2, "2026-10-25T00:30:00Z".into()));
        assert_eq!(at(&table, "2026-10-25T01:15:00Z"), (1, "2026-10-25T11:00:00Z".into()), "02:15 for the second time");
    }

    #[test]
    fn one_entry_never_changes() {
        let widths = Widths { read: None, write: Some(5) };
        assert_eq!(Timetable::constant(widths).at(Timestamp::UNIX_EPOCH), (widths, None));
        assert_eq!(Timetable::constant(widths).limits(), (false, true));
        assert_eq!(Timetable::daily(Vec::new(), TimeZone::UTC), None);
    }
}
