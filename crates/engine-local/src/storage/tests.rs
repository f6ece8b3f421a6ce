//! The life of layers, on every kind of pool.

use std::fs::{self, File};
use std::io::Write as _;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::process::Command;

use super::*;
use boxherd_model::{BoxId, ByteSize, SnapshotId};
use rustix::io::Errno;

/// Runs `check` on plain folders, and on a loop-backed btrfs where this user may make one.
fn on_every_pool(check: impl Fn(&Pool)) {
    let data = tempfile::tempdir().unwrap();
    check(&Pool::open(data.path()).unwrap());
    on_a_loop_pool(check);
}

fn on_a_loop_pool(check: impl Fn(&Pool)) {
    if !rustix::process::geteuid().is_root() || !Path::new("/usr/sbin/mkfs.btrfs").exists() {
        eprintln!("SKIPPED: the btrfs half: needs root and `mkfs.btrfs`");
        return;
    }
    let data = tempfile::tempdir().unwrap();
    let _unmount = Unmount(data.path().join("pool"));
    prepare_loop_pool(data.path(), ByteSize::from_mib(512)).unwrap();
    let pool = Pool::open(data.path()).unwrap();
    assert_eq!(pool.kind(), PoolKind::Loop);
    check(&pool);
    pool.settle().unwrap();
}

struct Unmount(std::path::PathBuf);

impl Drop for Unmount {
    fn drop(&mut self) {
        let status = Command::new("umount").arg("--lazy").arg(&self.0).status();
        assert!(status.is_ok_and(|status| status.success()), "a mount is left");
    }
}

fn write(path: &Path, bytes: usize) -> std::io::Result<()> {
    let mut file = File::create(path)?;
    file.write_all(&vec![7; bytes])?;
    file.sync_all()
}

#[test]
fn a_layer_is_made_cloned_and_deleted() {
    on_every_pool(|pool| {
        let (source, children) = (BoxId::new(), [BoxId::new(), BoxId::new(), BoxId::new()]);
        let layer = pool.create_layer(source, None).unwrap();
        fs::write(layer.path.join("file"), "before").unwrap();
        let copies = children.map(|id| LayerCopy { id, limit: None });
        pool.clone_layers(source, &copies).unwrap();
        fs::write(layer.path.join("file"), "after").unwrap();
        for child in children {
            let copy = pool.layer(child).unwrap().path.join("file");
            assert_eq!(fs::read_to_string(copy).unwrap(), "before");
            pool.delete_layer(child).unwrap();
            pool.delete_layer(child).unwrap();
            assert_eq!(pool.layer(child), None);
        }
    });
}

#[test]
fn a_snapshot_comes_back() {
    on_every_pool(|pool| {
        let (id, snapshot) = (BoxId::new(), SnapshotId::new());
        let file = pool.create_layer(id, None).unwrap().path.join("file");
        fs::write(&file, "saved").unwrap();
        pool.take_snapshot(id, snapshot).unwrap();
        fs::write(&file, "changed").unwrap();
        pool.restore_snapshot(id, snapshot).unwrap();
        assert_eq!(fs::read_to_string(&file).unwrap(), "saved");
        assert_eq!(pool.snapshots(id).unwrap(), [snapshot]);
        pool.remove_snapshot(id, snapshot).unwrap();
        assert!(pool.snapshots(id).unwrap().is_empty());
    });
}

/// How many quota groups of boxes a pool has.
fn groups(pool: &Pool) -> usize {
    let folder = File::open(&pool.inner.root).unwrap();
    let id = boxherd_sys::btrfs::filesystem_id(&folder).unwrap();
    let groups = fs::read_dir(Path::new("/sys/fs/btrfs").join(id).join("qgroups")).unwrap();
    groups.filter(|entry| entry.as_ref().unwrap().file_name().as_bytes().starts_with(b"1_")).count()
}

#[test]
fn quota_groups_go_with_their_boxes_and_no_others_do() {
    on_a_loop_pool(|pool| {
        let (gone, kept, coming) = (BoxId::new(), BoxId::new(), BoxId::new());
        let limit = Some(ByteSize::from_mib(20));
        for id in [gone, kept] {
            pool.create_layer(id, limit).unwrap();
        }
        // As a box is that is about to get its disk, or of somebody else on this filesystem.
        let quota = pool.inner.quota.as_ref().unwrap();
        quota.prepare(&pool.inner.layers, coming, limit).unwrap();
        pool.delete_layer(gone).unwrap();
        pool.settle().unwrap();
        let notes = || fs::read_dir(pool.inner.root.join(pool::GONE)).unwrap().count();
        for _ in 0..200 {
            // The kernel lets go of a group when it has freed what was in it.
            boxherd_sys::btrfs::sync_and_clean(&pool.inner.layers).unwrap();
            pool.sweep().unwrap();
            if notes() == 0 {
                break;
            }
            std::thread::sleep(std::time::Duration::from_millis(50));
        }
        assert_eq!((notes(), groups(pool)), (0, 2));
        pool.create_layer(coming, limit).unwrap();
    });
}

#[test]
fn a_limit_holds_for_the_box_its_children_and_its_subvolumes_and_spares_neighbours() {
    on_a_loop_pool(|pool| {
        let (id, child, neighbour) = (BoxId::new(), BoxId::new(), BoxId::new());
        let layer = pool.create_layer(id, Some(ByteSize::from_mib(20))).unwrap();
        pool.clone_layers(id, &[LayerCopy { id: child, limit: Some(ByteSize::from_mib(20)) }])
            .unwrap();
        let nested = Command::new("btrfs")
            .args(["subvolume", "create"])
            .arg(layer.path.join("nested"))
            .output()
            .unwrap();
        assert!(nested.status.success());
        for folder in [layer.path.join("nested"), pool.layer(child).unwrap().path] {
            let refused = write(&folder.join("big"), 40 << 20).unwrap_err().raw_os_error();
            assert_eq!(refused, Some(Errno::DQUOT.raw_os_error()), "{}", folder.display());
        }
        let free = pool.create_layer(neighbour, Some(ByteSize::from_mib(20))).unwrap();
        write(&free.path.join("small"), 10 << 20).unwrap();
        pool.delete_layer(id).unwrap();
        pool.settle().unwrap();
        assert_eq!(pool.layer(id), None);
    });
}
