//! What `--help` shows at its end: commands to copy.

pub(super) const START: &str = "\
Examples:
  boxherd start web
  boxherd ls -o name | xargs -r boxherd start";

pub(super) const STOP: &str = "\
Examples:
  boxherd stop web db
  boxherd stop --grace 1s web";

pub(super) const RESTART: &str = "\
Examples:
  boxherd restart web
  boxherd restart --grace 0s web    # ends it at once";

pub(super) const SUSPEND: &str = "\
Examples:
  boxherd suspend web
  boxherd exec web -- uptime        # wakes it";

pub(super) const RESUME: &str = "\
Examples:
  boxherd resume web
  boxherd ls -q -l tier=front | xargs -r boxherd resume";

pub(super) const HIBERNATE: &str = "\
Examples:
  boxherd hibernate web
  boxherd resume web                # goes on where it was, also after a reboot";

pub(super) const SERVE: &str = "\
Examples:
  boxherd serve
  boxherd serve --proxy-listen 127.0.0.1:8080   # http://BOX.localhost:8080
  boxherd serve --listen 0.0.0.0:9443 --tls-cert chain.pem --tls-key key.pem
  BOXHERD_BOOTSTRAP_KEY=... boxherd serve --listen 127.0.0.1:9443 --listen unix:/run/boxherd.sock";

pub(super) const PROXY: &str = "\
Examples:
  boxherd proxy set web --port auto
  boxherd proxy create web api 3000         # api.web.localhost
  boxherd proxy set web api --private";

pub(super) const DISK: &str = "\
Examples:
  boxherd disk create data 10GiB
  boxherd disk attach data web /srv/data
  boxherd disk detach data web";

pub(super) const KEY: &str = "\
Examples:
  boxherd key create laptop --user alice --expires 720h
  boxherd key ls
  boxherd key rm 0199...";

pub(super) const IMAGE: &str = "\
Examples:
  boxherd image pull registry.example/debian:12
  boxherd image import base rootfs.tar.gz
  boxherd image pull ubuntu:24.04 --engine lab          # the server fetches it
  boxherd image import base rootfs.tar.gz --engine lab
  boxherd image import base metadata.tar.xz rootfs.squashfs --engine lab";

pub(super) const ENGINE: &str = "\
Examples:
  boxherd engine add here --lxd unix:/var/lib/lxd/unix.socket --image debian/12
  boxherd engine add lab --lxd https://lab.example --token-file token --image debian/12
  boxherd engine add homelab --remote homelab
  boxherd engine check lab
  boxherd create lab:web && boxherd exec lab:web -- hostname";

pub(super) const BENCH: &str = "\
Examples:
  boxherd bench create exec --rounds 500
  boxherd bench lxd --engine lab --round-trip 27ms";

pub(super) const USER: &str = "\
Examples:
  boxherd user create alice --boxes 20 --memory 16GiB
  boxherd user set alice --execs 64 --disk none
  boxherd user grant alice local/bob    # alice acts on bob's boxes, as `local:BOX`
  boxherd user ls";
