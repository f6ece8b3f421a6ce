//! Several servers and one box: whoever claimed it last changes it.

use super::stage::GRACE;
use super::{Outcome, Stage, theme};
use crate::EngineError;
use crate::TruthState::Running;

theme! { "fences":
    a_later_claim_shuts_the_earlier_one_out,
    what_was_claimed_and_deleted_stays_gone,
    who_claims_nothing_is_not_kept_out,
}

fn fenced<T>(result: Result<T, EngineError>) -> bool {
    matches!(result, Err(EngineError::Fenced(_)))
}

async fn a_later_claim_shuts_the_earlier_one_out(stage: &Stage) -> Outcome {
    let guest = stage.running().await?;
    let (id, engine, next) = (guest.id, stage.engine(), stage.reopen().await?);
    engine.claim(id, 1).await?;
    engine.rename(id, &guest.spec.name).await?;
    next.claim(id, 2).await?;

    assert!(fenced(engine.claim(id, 1).await));
    assert!(fenced(engine.start(id).await));
    assert!(fenced(engine.stop(id, GRACE).await));
    assert!(fenced(engine.suspend(id).await));
    assert!(fenced(engine.rename(id, &"other".parse()?).await));
    assert!(fenced(engine.delete(id).await));
    let truth = engine.inspect(id).await?.ok_or("it is not there")?;
    assert_eq!((truth.name, truth.state), (guest.spec.name.clone(), Running));
    assert_eq!(guest.sh("echo alive").await?, "alive");

    next.stop(id, GRACE).await?;
    engine.claim(id, 3).await?;
    assert!(fenced(next.start(id).await));
    engine.start(id).await?;
    Ok(())
}

async fn what_was_claimed_and_deleted_stays_gone(stage: &Stage) -> Outcome {
    let guest = stage.running().await?;
    let (id, engine, next) = (guest.id, stage.engine(), stage.reopen().await?);
    engine.claim(id, 1).await?;
    next.claim(id, 2).await?;
    next.delete(id).await?;
    assert!(fenced(engine.create(id, &guest.spec).await));
    assert!(fenced(engine.start(id).await));
    assert!(engine.inspect(id).await?.is_none());
    // So that it may clean up after the case.
    engine.claim(id, 3).await?;
    Ok(())
}

async fn who_claims_nothing_is_not_kept_out(stage: &Stage) -> Outcome {
    let guest = stage.running().await?;
    let next = stage.reopen().await?;
    next.claim(guest.id, 7).await?;
    stage.engine().stop(guest.id, GRACE).await?;
    next.delete(guest.id).await?;
    Ok(())
}
