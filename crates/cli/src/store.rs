//! Where boxes are written down: a file in the data folder, or a Postgres server.
//!
//! What an engine has and the store does not know is an orphan, and removed. So a data folder and its
//! store know each other, and one is not opened with another's.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use boxherd_store::{PostgresStore, SqliteStore, Store, StoreError};

use crate::failure::Failure;

/// The database in a data folder.
pub(crate) const DATABASE: &str = "herd.db";
/// In a data folder whose boxes are written down elsewhere.
const ELSEWHERE: &str = "store";
/// In a store: the installation whose boxes it has.
const INSTALLATION: &str = "installation";

/// How long a server on a shared database may stand still before others take over the boxes that it
/// works on.
pub(crate) const LEASE: Duration = Duration::from_secs(10);

/// The store in a data folder.
pub(crate) fn open_own(data: &Path) -> Result<Arc<dyn Store>, Failure> {
    if data.join(ELSEWHERE).exists() {
        let message = format!("the boxes of `{}` are written down elsewhere", data.display());
        return Err(Failure::new("store-elsewhere", message)
            .hint("name the database with `--store` or a variable `BOXHERD_STORE`"));
    }
    let store = SqliteStore::open(&data.join(DATABASE)).map_err(|error| failure(&error))?;
    Ok(Arc::new(store))
}

/// The store on a Postgres server, for the boxes of `installation`, which is the data folder's.
pub(crate) async fn open_on_postgres(
    url: &str,
    data: &Path,
    installation: &str,
) -> Result<Arc<dyn Store>, Failure> {
    if data.join(DATABASE).exists() {
        let message = format!("the boxes of `{}` are written down in it", data.display());
        return Err(Failure::new("store-elsewhere", message)
            .hint("leave `--store` away, or use another data folder with it"));
    }
    let store = PostgresStore::connect(url).await.map_err(|error| failure(&error))?;
    match store.fact(INSTALLATION).await.map_err(|error| failure(&error))? {
        Some(other) if other != installation => {
            let message = format!("the database has the boxes of another data folder, {other}");
            return Err(Failure::new("store-taken", message)
                .hint("give each data folder a database or a schema of its own"));
        }
        Some(_) => {}
        // An empty database, and every box of the data folder would be an orphan in it.
        None if data.join(ELSEWHERE).exists() => {
            let message = format!("the database has none of the boxes of `{}`", data.display());
            let note = data.join(ELSEWHERE);
            return Err(Failure::new("store-elsewhere", message).hint(format!(
                "name the database that has them; if there are none, remove `{}`",
                note.display()
            )));
        }
        None => {
            let noted = store.set_fact(INSTALLATION, installation).await;
            noted.map_err(|error| failure(&error))?;
        }
    }
    std::fs::write(data.join(ELSEWHERE), "postgres\n")
        .map_err(|error| Failure::io("cannot note where boxes are written down", &error))?;
    Ok(Arc::new(store))
}

fn failure(error: &StoreError) -> Failure {
    Failure::of(error, error.code(), error.hint().map(str::to_owned))
}
