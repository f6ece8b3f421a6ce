//! When it is worth asking again, and after how long.

use std::time::Duration;

use oci_client::errors::OciDistributionError;

use super::tls;

/// How often in a row nothing may come before it counts as an error.
pub(super) const ATTEMPTS: u32 = 5;

/// Asks until there is an answer, or an error that will not go away by itself.
pub(super) async fn retry<T, F>(mut ask: impl FnMut() -> F) -> Result<T, OciDistributionError>
where
    F: Future<Output = Result<T, OciDistributionError>>,
{
    let mut attempt = 1;
    loop {
        match ask().await {
            Err(error) if attempt < ATTEMPTS && passes(&error) => pause(attempt).await,
            result => return result,
        }
        attempt += 1;
    }
}

/// Waits 0.1, 0.2, 0.4 … seconds.
pub(super) async fn pause(attempt: u32) {
    tokio::time::sleep(Duration::from_millis(50 << attempt.min(6))).await;
}

/// Whether the same question may have another answer in a moment. Every question here only reads,
/// so asking twice is always safe.
pub(super) fn passes(error: &OciDistributionError) -> bool {
    match error {
        OciDistributionError::RequestError(error) => {
            !error.is_builder() && !error.is_redirect() && tls::fault(error).is_none()
        }
        OciDistributionError::IoError(_) => true,
        OciDistributionError::ServerError { code, .. } => *code == 429 || *code >= 500,
        _ => false,
    }
}
