//! The program, used as people and scripts use it: every test runs the real `boxherd` on boxes of
//! its own, in a data folder of its own.
//!
//! Boxes have no network unless the network is what is tested.

mod bench;
mod boxes;
mod cgroup_v1;
mod cluster;
mod commands;
mod connect;
mod console;
mod copies;
mod debian_kernel;
mod disks;
mod doctor;
mod engines;
mod full_disk;
mod guests;
mod gvisor;
mod host_image;
mod https;
mod images;
mod kills;
#[path = "../common/lab.rs"]
mod lab;
mod machines;
mod nesting;
mod networks;
mod outages;
mod pools;
mod postgres;
mod projects;
mod readme;
mod reboot;
mod records;
mod restarts;
#[path = "../common/rootfs.rs"]
mod rootfs;
mod rootless;
mod server_images;
mod terminal;
mod usage;
mod wait;
