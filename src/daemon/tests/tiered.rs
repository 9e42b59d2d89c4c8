//! A job's rules after its runs.

use super::*;
use crate::daemon::audit;
use crate::storage::List;
use crate::tier::retention::Retention;
use crate::tier::rule::{Action, AgeBy, By, Rule, Scope};
use crate::tier::{End, Place as TierPlace};
use futures::StreamExt;

/// A job whose destination keeps three of its dated snapshots.
#[derive(Debug)]
struct Thinned(Arc<Place>);

#[async_trait]
impl Opener for Thinned {
    async fn open(&self, occasion: &Occasion) -> Result<Vec<Opened>> {
        let mut opened = self.0.open(occasion).await?;
        for opened in &mut opened {
            let actions = vec![Action::Keep(Retention { newest: 3, ..Retention::default() })];
            let rule = Rule { name: "three".into(), scope: Scope::default(), actions, age_by: AgeBy::Modified, by: By::Dragon };
            opened.tiers.push(TierPlace { end: End::Destination, store: "mem".into(), location: opened.job.destination.clone(), rules: vec![rule] });
        }
        Ok(opened)
    }

    fn destination(&self, at: Timestamp) -> Option<String> {
        self.0.destination(at)
    }

    fn pipes(&self) -> &Pipes {
        self.0.pipes()
    }

    async fn hints(&self) -> Result<Vec<HintSource>> {
        self.0.hints().await
    }
}

async fn snapshots(store: &dyn Storage) -> Vec<String> {
    let pages: Vec<_> = store.list(List::under("20".into())).collect().await;
    pages.iter().flat_map(|page| page.as_ref().expect("a page").iter().map(|entry| Key::from(entry.key).to_string())).collect()
}

#[tokio::test(start_paused = true)]
async fn once_a_day_after_a_run_the_rules_are_carried_out_and_what_goes_is_on_record() {
    let clock = clock("2026-01-01T00:00:00Z");
    let place = Place::new(&clock, "photos", 1, Duration::ZERO).await;
    for day in 1..=5 {
        place.to.put(&format!("2025-12-0{day}").as_str().into(), vec![1; 4].into(), Put::default()).await.expect("written");
    }
    let job = JobSetup { opener: Arc::new(Thinned(place.clone())), ..place.job("photos", Some("every 1h")) };
    let bench = Bench::start(&clock, tempfile::tempdir().expect("a folder"), vec![job], Settings::default()).await;
    bench.pass(5 * MINUTE).await;
    assert_eq!(causes(&bench.job("photos")), [("schedule", "done")]);
    assert_eq!(snapshots(&*place.to).await, ["2025-12-03", "2025-12-04", "2025-12-05"]);
    place.to.put(&"2025-12-06".into(), vec![1; 4].into(), Put::default()).await.expect("written");
    let state = bench.end().await;
    let mut gone = Vec::new();
    audit::walk(state.path(), |_, _, line| {
        if let Ok(audit::Line { record: audit::Record::Expired { key, rule, .. }, .. }) = serde_json::from_slice(line) {
            gone.push((rule, key));
        }
        true
    })
    .expect("a log");
    assert_eq!(gone, [("three".to_owned(), "2025-12-01".to_owned()), ("three".to_owned(), "2025-12-02".to_owned())]);
}
