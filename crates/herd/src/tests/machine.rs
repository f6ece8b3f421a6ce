//! Commands of machine specs, whatever happens to whoever runs them.

use boxherd_model::Caller;

use super::callers::user;
use super::*;

/// The states of the commands of `web` once `done` says that they are as wanted.
async fn packages(herd: &Herd, done: impl Fn(&[Package]) -> bool) -> Vec<Package> {
    let look = async {
        loop {
            let status = herd.show(&at("web")).await.unwrap();
            let packages = herd.machine_of(&status).await.unwrap().unwrap().packages;
            if done(&packages) {
                return packages;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), look).await.expect("the commands come to an end")
}

fn create(commands: &[&str]) -> Create {
    let packages = commands.iter().map(|command| (*command).to_owned()).collect();
    let machine = MachineSpec { packages, ..MachineSpec::default() }.checked().unwrap();
    Create { machine: Some(machine), ..spec("web").into() }
}

#[tokio::test]
async fn a_command_whose_server_is_killed_runs_again_with_the_next_server() {
    let lab = Lab::new();
    let first = lab.herd().await;
    let ann = user(&first, "ann").await;
    let (flag, begun) = (lab.folder.path().join("go"), lab.folder.path().join("begun"));
    let wait = format!("test -e {0} || {{ : > {1}; sleep 600; }}", flag.display(), begun.display());
    first.acting_for(Caller::User(ann)).create(create(&[&wait, "false"])).await.unwrap();
    let running = |packages: &[Package]| packages[0].state == PackageState::Running;
    let anns = first.acting_for(Caller::User(ann));
    packages(&anns, running).await;
    // It is said before the shell has looked.
    let looked = async {
        while !begun.exists() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), looked).await.expect("the shell looks");

    // Its links are lost, as when it is killed.
    first.close().await;
    std::fs::write(&flag, "").unwrap();
    let second = lab.herd().await;
    let anns = second.acting_for(Caller::User(ann));
    let ended = |packages: &[Package]| packages[1].state == PackageState::Failed;
    let looks = async {
        loop {
            second.run_packages().await.unwrap();
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    let done = tokio::select! {
        done = packages(&anns, ended) => done,
        () = looks => unreachable!("it looks for ever"),
    };
    assert_eq!((done[0].state, done[0].exit_code), (PackageState::Done, Some(0)));
    assert!(done[0].interruptions >= 1, "{done:?}");
    assert_eq!(done[1].exit_code, Some(1));
    anns.delete(&at("web")).await.unwrap();
}
