//! `boxherd cp`.

use boxherd_link::Files;
use boxherd_model::Address;

use crate::app::App;
use crate::args::{CopyEnd, CpArgs};
use crate::copy::{self, There};
use crate::failure::{Failure, LINK_LOST};
use crate::progress::Bar;
use crate::signals::uninterrupted;

/// Copies one way or the other.
pub(super) async fn cp(app: &App, args: CpArgs) -> Result<(), Failure> {
    let bar = Bar::new(&app.printer);
    let (address, ends) = match (&args.source, &args.destination) {
        (CopyEnd::InBox(..), CopyEnd::InBox(..)) => {
            return Err(Failure::usage("both ends are in a box")
                .hint("use `boxherd cp A:/PATH - | boxherd cp - B:/DIR`"));
        }
        (CopyEnd::InBox(address, _), _) | (_, CopyEnd::InBox(address, _)) => {
            (address, (&args.source, &args.destination))
        }
        _ => {
            return Err(Failure::usage("neither end is in a box")
                .hint("write a path in a box as `NAME:/PATH`"));
        }
    };
    if let Some(remote) = app.remote() {
        let there = There::new(remote.client().await?.clone(), address.to_string());
        let copying = copy_elsewhere(&there, ends, &bar);
        return uninterrupted(copying, "a file that was not copied whole is as it was").await;
    }
    let link = app.herd().await?.link(address).await?;
    let files = link.files();
    let copying = copy_between(&files, ends, &bar);
    let copied = uninterrupted(copying, "a file that was not copied whole is as it was").await;
    link.close().await;
    match copied {
        Err(failure) if failure.code() == Some(LINK_LOST) => {
            Err(with_way_out(app, address, failure).await)
        }
        copied => copied,
    }
}

/// What to do about a link that was lost in the middle of a copy.
async fn with_way_out(app: &App, address: &Address, failure: Failure) -> Failure {
    let whole = "what was not copied whole is as it was";
    let seen = match app.herd().await {
        Ok(herd) => herd.show(address).await.ok(),
        Err(_) => None,
    };
    match seen {
        Some(status) if status.unreachable => failure.hint(format!(
            "the server does not answer, and {whole}: try again when `boxherd engine check {}` says that \
             it does",
            status.engine
        )),
        _ => failure.hint(format!("{whole}: try again")),
    }
}

async fn copy_elsewhere(
    there: &There,
    ends: (&CopyEnd, &CopyEnd),
    bar: &Bar,
) -> Result<(), Failure> {
    match ends {
        (CopyEnd::Here(from), CopyEnd::InBox(_, to)) => there.copy_in(from, to, bar).await,
        (CopyEnd::InBox(_, from), CopyEnd::Here(to)) => there.copy_out(from, to, bar).await,
        (CopyEnd::Stream, CopyEnd::InBox(_, to)) => there.stream_in(to, bar).await,
        (CopyEnd::InBox(_, from), _) => there.stream_out(from, bar).await,
        // Refused above.
        _ => Ok(()),
    }
}

async fn copy_between(files: &Files, ends: (&CopyEnd, &CopyEnd), bar: &Bar) -> Result<(), Failure> {
    match ends {
        (CopyEnd::Here(from), CopyEnd::InBox(_, to)) => copy::into_box(files, from, to, bar).await,
        (CopyEnd::InBox(_, from), CopyEnd::Here(to)) => {
            copy::out_of_box(files, from, to, bar).await
        }
        (CopyEnd::Stream, CopyEnd::InBox(_, to)) => copy::stream_into_box(files, to, bar).await,
        (CopyEnd::InBox(_, from), _) => copy::stream_out_of_box(files, from, bar).await,
        // Refused above.
        _ => Ok(()),
    }
}
