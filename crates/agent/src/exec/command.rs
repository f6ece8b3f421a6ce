//! From a request to what the kernel needs: candidates, arguments, environment. Pure.

use std::ffi::CString;
use std::os::unix::ffi::OsStrExt;

use boxherd_link::proto::{Env, Exec};

use boxherd_link::users::User;

/// Where programs are searched unless the request sets `PATH`.
const PATH: &[u8] = b"/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// A command, ready to be started.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Prepared {
    /// Paths to try, in order.
    pub(super) programs: Vec<CString>,
    /// Its arguments.
    pub(super) argv: Vec<CString>,
    /// Its environment, `NAME=value`.
    pub(super) env: Vec<CString>,
}

/// Prepares a command for a user. The error is a sentence for the user.
pub(super) fn prepare(exec: &Exec, user: &User) -> Result<Prepared, String> {
    let argv: Vec<Vec<u8>> = match (&exec.shell, exec.argv.is_empty()) {
        (Some(line), true) => {
            // A line that begins with `-` is no option.
            vec![b"/bin/sh".into(), b"-c".into(), b"--".into(), line.clone()]
        }
        (None, false) => exec.argv.clone(),
        _ => return Err("give a program or a shell line, and not both".to_owned()),
    };
    let env = environment(&exec.env, user, exec.pty.is_some())?;
    let path = env.iter().find(|(name, _)| name == b"PATH").map_or(PATH, |(_, value)| value);
    let programs = candidates(&argv[0], path);
    let joined = env.iter().map(|(name, value)| [name, &b"="[..], value].concat());
    Ok(Prepared {
        programs: c_strings(programs, "the program's name")?,
        argv: c_strings(argv, "an argument")?,
        env: c_strings(joined, "the environment")?,
    })
}

fn candidates(program: &[u8], path: &[u8]) -> Vec<Vec<u8>> {
    if program.contains(&b'/') {
        return vec![program.to_vec()];
    }
    if program.is_empty() {
        return Vec::new();
    }
    let directories = path.split(|b| *b == b':');
    directories
        .map(|directory| match directory {
            b"" => [b"./", program].concat(),
            directory => [directory, b"/", program].concat(),
        })
        .collect()
}

type Pairs = Vec<(Vec<u8>, Vec<u8>)>;

fn environment(asked: &[Env], user: &User, terminal: bool) -> Result<Pairs, String> {
    let mut env: Pairs = vec![
        (b"PATH".into(), PATH.into()),
        (b"HOME".into(), user.home.as_os_str().as_bytes().into()),
        (b"USER".into(), user.name.clone()),
        (b"LOGNAME".into(), user.name.clone()),
        (b"SHELL".into(), user.shell.clone()),
    ];
    if terminal {
        env.push((b"TERM".into(), b"xterm".into()));
    }
    for Env { name, value } in asked {
        if name.is_empty() || name.contains(&b'=') {
            let name = String::from_utf8_lossy(name);
            return Err(format!("`{name}` cannot be the name of an environment variable"));
        }
        env.retain(|(known, _)| known != name);
        env.push((name.clone(), value.clone()));
    }
    Ok(env)
}

fn c_strings(list: impl IntoIterator<Item = Vec<u8>>, what: &str) -> Result<Vec<CString>, String> {
    let list = list.into_iter().map(CString::new);
    list.collect::<Result<_, _>>().map_err(|_| format!("{what} contains a zero byte"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn root() -> User {
        boxherd_link::users::find_user("0", b"", b"").unwrap()
    }

    fn argv(list: &[&str]) -> Exec {
        let argv = list.iter().map(|a| a.as_bytes().to_vec()).collect();
        Exec { argv, ..Exec::default() }
    }

    fn env(name: &str, value: &str) -> Env {
        Env { name: name.into(), value: value.into() }
    }

    fn texts(list: &[CString]) -> Vec<&str> {
        list.iter().map(|s| s.to_str().unwrap()).collect()
    }

    #[test]
    fn programs_are_searched_in_the_path_of_the_request() {
        let exec = Exec { env: vec![env("PATH", "/a::/b")], ..argv(&["x", "y"]) };
        let prepared = prepare(&exec, &root()).unwrap();
        assert_eq!(texts(&prepared.programs), ["/a/x", "./x", "/b/x"]);
        assert_eq!(texts(&prepared.argv), ["x", "y"]);
    }

    #[test]
    fn a_path_is_not_searched() {
        assert_eq!(texts(&prepare(&argv(&["./x"]), &root()).unwrap().programs), ["./x"]);
        assert!(prepare(&argv(&[""]), &root()).unwrap().programs.is_empty());
    }

    #[test]
    fn a_line_goes_to_the_shell_whole() {
        let exec = Exec { shell: Some(b"-n 'x y'".into()), ..Exec::default() };
        let prepared = prepare(&exec, &root()).unwrap();
        assert_eq!(texts(&prepared.argv), ["/bin/sh", "-c", "--", "-n 'x y'"]);
    }

    #[test]
    fn the_last_value_of_a_variable_wins() {
        let exec = Exec { env: vec![env("HOME", "/x"), env("HOME", "/y")], ..argv(&["x"]) };
        let prepared = prepare(&exec, &root()).unwrap();
        let homes: Vec<_> =
            texts(&prepared.env).into_iter().filter(|e| e.starts_with("HOME=")).collect();
        assert_eq!(homes, ["HOME=/y"]);
    }

    #[test]
    fn what_the_kernel_cannot_take_is_refused() {
        assert!(prepare(&Exec::default(), &root()).is_err());
        assert!(prepare(&argv(&["a\0b"]), &root()).unwrap_err().contains("zero byte"));
        let exec = Exec { env: vec![env("A=B", "")], ..argv(&["x"]) };
        assert!(prepare(&exec, &root()).unwrap_err().contains("`A=B`"));
    }
}
