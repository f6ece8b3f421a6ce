//! How contenders take turns.

use std::future::Future;
use std::pin::Pin;
use std::time::{Duration, Instant};

/// A measurement that one contender can make over and over.
pub(crate) type Turn<'a> =
    Box<dyn FnMut() -> Pin<Box<dyn Future<Output = anyhow::Result<f64>> + 'a>> + 'a>;

/// Somebody who is measured.
pub(crate) struct Contender<'a> {
    name: String,
    turn: Turn<'a>,
    /// It takes part in every `every`th round and in the last, so that a slow one does not fill the
    /// run.
    every: u32,
    samples: Vec<f64>,
    failure: Option<String>,
}

impl<'a> Contender<'a> {
    pub(crate) fn new<F>(name: &str, mut turn: impl FnMut() -> F + 'a) -> Self
    where
        F: Future<Output = anyhow::Result<f64>> + 'a,
    {
        Self {
            name: name.to_owned(),
            turn: Box::new(move || Box::pin(turn())),
            every: 1,
            samples: Vec::new(),
            failure: None,
        }
    }

    /// Takes part in every `every`th round and in the last only.
    pub(crate) fn every(mut self, every: u32) -> Self {
        self.every = every.max(1);
        self
    }
}

/// Lets everyone take a turn in each round, so that whatever else the machine does meets all of
/// them alike. The first turn of each is thrown away: it pays for cold caches. Who fails is out,
/// and is named in `skipped`; when we ourselves (the first) fail, that is an error.
pub(crate) async fn rounds(
    contest: &str,
    mut contenders: Vec<Contender<'_>>,
    rounds: u32,
    skipped: &mut Vec<String>,
) -> anyhow::Result<Vec<(String, Vec<f64>)>> {
    for round in 0..=rounds {
        for (place, contender) in contenders.iter_mut().enumerate() {
            let due = round % contender.every == 0 || round == rounds;
            let sits_out = contender.failure.is_some() || !due;
            if sits_out {
                continue;
            }
            match (contender.turn)().await {
                Ok(_) if round == 0 => {}
                Ok(sample) => contender.samples.push(sample),
                Err(error) if place == 0 => {
                    return Err(error.context(format!("`{contest}`, round {round}")));
                }
                Err(error) => contender.failure = Some(format!("{error:#}")),
            }
        }
    }
    for contender in &contenders {
        if let Some(failure) = &contender.failure {
            skipped.push(format!("{} in `{contest}`: {failure}", contender.name));
        }
    }
    Ok(contenders.into_iter().map(|c| (c.name, c.samples)).collect())
}

/// A duration in milliseconds.
pub(crate) fn millis(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1000.0
}

/// Since `start`, in milliseconds.
pub(crate) fn millis_since(start: Instant) -> f64 {
    millis(start.elapsed())
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::*;

    #[tokio::test]
    async fn everyone_takes_turns_and_the_first_does_not_count() {
        let log = RefCell::new(String::new());
        let turn = |name: char| {
            let log = &log;
            move || {
                log.borrow_mut().push(name);
                async move { Ok(1.0) }
            }
        };
        let contenders = vec![
            Contender::new("a", turn('a')),
            Contender::new("b", turn('b')),
            Contender::new("c", turn('c')).every(2),
        ];
        let samples = rounds("x", contenders, 3, &mut Vec::new()).await.unwrap();
        assert_eq!(*log.borrow(), "abcababcabc");
        assert_eq!(samples.iter().map(|(_, s)| s.len()).collect::<Vec<_>>(), [3, 3, 2]);
    }

    #[tokio::test]
    async fn a_peer_that_fails_is_out_and_named() {
        let contenders = vec![
            Contender::new("ours", || async { Ok(1.0) }),
            Contender::new("theirs", || async { anyhow::bail!("no cgroup") }),
        ];
        let mut skipped = Vec::new();
        let samples = rounds("x", contenders, 5, &mut skipped).await.unwrap();
        assert_eq!((samples[0].1.len(), samples[1].1.len()), (5, 0));
        assert_eq!(skipped, ["theirs in `x`: no cgroup"]);
    }

    #[tokio::test]
    async fn our_own_failure_is_an_error() {
        let contenders = vec![Contender::new("ours", || async { anyhow::bail!("broken") })];
        let error = rounds("x", contenders, 5, &mut Vec::new()).await.unwrap_err();
        assert_eq!(format!("{error:#}"), "`x`, round 0: broken");
    }
}
