//! What a command gets and what is seen of it, one row each.

use std::sync::Arc;

use boxherd_link::ExitStatus::{Code, Signal};
use boxherd_link::{ExecRequest, ExitStatus, LinkError};

use super::{Case, Outcome, Stage};

/// A command and everything that is seen of it.
struct Row {
    name: &'static str,
    request: ExecRequest,
    stdin: &'static [u8],
    stdout: Vec<u8>,
    stderr: Errors,
    end: End,
}

/// What stands on the error output.
enum Errors {
    Exactly(&'static str),
    /// An explanation, in words that are not for us to fix.
    Something,
}

enum End {
    With(ExitStatus),
    Refused,
}

pub(super) fn cases() -> Vec<Case> {
    let themes = [arguments, shell_lines, codes, signals, environment, places, streams, users];
    themes.into_iter().flat_map(|rows| rows()).map(case).collect()
}

fn case(row: Row) -> Case {
    let row = Arc::new(row);
    Case::new(format!("exec_table::{}", row.name), move |stage| {
        let row = Arc::clone(&row);
        async move { holds(&stage, &row).await }
    })
}

async fn holds(stage: &Stage, row: &Row) -> Outcome {
    let guest = stage.running().await?;
    let done = match guest.collect(row.request.clone(), row.stdin).await {
        Ok(done) => done,
        Err(error) => {
            let refused = matches!(error.downcast_ref(), Some(LinkError::Refused { .. }));
            assert!(refused && matches!(row.end, End::Refused), "{error}");
            return Ok(());
        }
    };
    let shown =
        |bytes: &[u8]| String::from_utf8_lossy(bytes).chars().take(2000).collect::<String>();
    let End::With(status) = row.end else { panic!("it was not refused: {:?}", done.status) };
    assert_eq!(done.status, status, "errors: {}", shown(&done.stderr));
    assert!(done.stdout == row.stdout, "it printed `{}`", shown(&done.stdout));
    match row.stderr {
        Errors::Exactly(text) => assert_eq!(shown(&done.stderr), text),
        Errors::Something => assert!(!done.stderr.is_empty(), "no word of explanation"),
    }
    Ok(())
}

// === impl Row ===

fn argv(name: &'static str, argv: &[&str]) -> Row {
    row(name, ExecRequest::argv(argv.iter().copied()))
}

fn shell(name: &'static str, line: &str) -> Row {
    row(name, ExecRequest::shell(line))
}

fn row(name: &'static str, mut request: ExecRequest) -> Row {
    // Not the home of root, which a fake box shares with the host.
    request.workdir = Some("/".to_owned());
    let (stdout, stderr) = (Vec::new(), Errors::Exactly(""));
    Row { name, request, stdin: b"", stdout, stderr, end: End::With(Code(0)) }
}

impl Row {
    fn prints(mut self, stdout: impl AsRef<[u8]>) -> Self {
        self.stdout = stdout.as_ref().to_vec();
        self
    }

    fn warns(mut self, stderr: &'static str) -> Self {
        self.stderr = Errors::Exactly(stderr);
        self
    }

    fn explains(mut self) -> Self {
        self.stderr = Errors::Something;
        self
    }

    fn ends(mut self, status: ExitStatus) -> Self {
        self.end = End::With(status);
        self
    }

    fn fails_to_begin(mut self) -> Self {
        self.end = End::Refused;
        self
    }

    fn with(mut self, name: &str, value: &str) -> Self {
        self.request.env.push((name.to_owned(), value.to_owned()));
        self
    }

    fn at(mut self, workdir: &str) -> Self {
        self.request.workdir = Some(workdir.to_owned());
        self
    }

    fn fed(mut self, stdin: &'static [u8]) -> Self {
        self.request.stdin = true;
        self.stdin = stdin;
        self
    }

    fn by(mut self, user: &str) -> Self {
        self.request.user = Some(user.to_owned());
        self
    }
}

fn arguments() -> Vec<Row> {
    // `printf` repeats its format for each argument, so that their borders are seen.
    let printed = |name, arguments: &[&str]| {
        let mut all = vec!["printf", "[%s]"];
        all.extend(arguments);
        let expected: String = arguments.iter().map(|a| format!("[{a}]")).collect();
        argv(name, &all).prints(expected)
    };
    let long = "x".repeat(100_000);
    let many: Vec<&str> = vec!["arg"; 5000];
    vec![
        printed("arguments_keep_their_spaces", &[" a  b ", "\t"]),
        printed("arguments_are_not_expanded", &["$HOME", "*", "~", "`id`", "$(id)", "{a,b}"]),
        printed("arguments_keep_single_quotes", &["it's", "'"]),
        printed("arguments_keep_double_quotes", &["say \"hi\"", "\""]),
        printed("arguments_keep_backslashes", &["\\", "\\n", "a\\ b"]),
        printed("arguments_may_be_empty", &["", "", "x"]),
        printed("arguments_keep_newlines", &["a\nb", "\n"]),
        printed("arguments_keep_other_scripts", &["büro", "日本", "🐑"]),
        printed("arguments_may_look_like_operators", &[";", "&&", "|", ">", "#"]),
        argv("arguments_may_begin_with_a_hyphen", &["printf", "%s", "--", "-n"]).prints("---n"),
        argv("an_argument_may_be_long", &["printf", "%s", &long]).prints(&long),
        printed("arguments_may_be_many", &many),
        argv("argument_zero_is_as_given", &["sh", "-c", "echo $0 $1", "zero", "one"])
            .prints("zero one\n"),
    ]
}

fn shell_lines() -> Vec<Row> {
    vec![
        shell("a_line_is_expanded", "x=ab; echo $x ${#x} $((6 * 7))").prints("ab 2 42\n"),
        shell("a_line_has_pipes", "printf 'b\\na\\n' | sort | tr -d '\\n'").prints("ab"),
        shell("a_line_has_conditions", "false && echo no || echo yes").prints("yes\n"),
        shell("a_line_has_quotes", "echo 'a  b' \"c  d\"").prints("a  b c  d\n"),
        shell("a_line_has_here_documents", "cat <<END\nhello\nEND").prints("hello\n"),
        shell("a_line_may_have_many_lines", "echo a\necho b\n").prints("a\nb\n"),
        shell("an_empty_line_succeeds", ""),
        shell("a_pipe_that_breaks_is_quiet", "yes | head -n 1").prints("y\n"),
    ]
}

fn codes() -> Vec<Row> {
    let missing = &["/no/such/program"];
    vec![
        argv("true_is_zero", &["true"]),
        argv("false_is_one", &["false"]).ends(Code(1)),
        shell("a_code_is_passed_on", "exit 42").ends(Code(42)),
        shell("code_125_is_not_ours_alone", "exit 125").ends(Code(125)),
        shell("codes_above_127_are_codes", "exit 137").ends(Code(137)),
        shell("code_255_is_the_largest", "exit 255").ends(Code(255)),
        shell("code_256_wraps_as_in_a_shell", "(exit 256)"),
        argv("a_missing_program_is_127", &["no-such-program"]).ends(Code(127)).explains(),
        argv("a_missing_path_is_127", missing).ends(Code(127)).explains(),
        shell("a_missing_program_of_a_line_is_127", "no-such-program").ends(Code(127)).explains(),
        argv("a_folder_is_126", &["/usr"]).ends(Code(126)).explains(),
        argv("a_file_that_may_not_run_is_126", &["/etc/passwd"]).ends(Code(126)).explains(),
    ]
}

fn signals() -> Vec<Row> {
    vec![
        shell("kill_is_signal_9", "kill -KILL $$").ends(Signal(libc::SIGKILL)),
        shell("term_is_signal_15", "kill -TERM $$").ends(Signal(libc::SIGTERM)),
        shell("a_crash_is_signal_11", "kill -SEGV $$").ends(Signal(libc::SIGSEGV)),
        shell("output_before_a_signal_is_there", "echo out; kill -KILL $$")
            .prints("out\n")
            .ends(Signal(libc::SIGKILL)),
        argv("no_signal_is_ignored", &["grep", "SigIgn", "/proc/self/status"])
            .prints("SigIgn:\t0000000000000000\n"),
        argv("no_signal_is_blocked", &["grep", "SigBlk", "/proc/self/status"])
            .prints("SigBlk:\t0000000000000000\n"),
        shell("a_command_leads_its_own_group", "test $(cut -d' ' -f5 /proc/$$/stat) = $$"),
    ]
}

fn environment() -> Vec<Row> {
    let show = |name, variable: &str| shell(name, &format!("printf %s \"${variable}\""));
    vec![
        show("a_variable_is_set", "A").with("A", "value").prints("value"),
        show("a_variable_may_be_empty", "{A-unset}").with("A", ""),
        show("a_variable_keeps_its_newlines", "A").with("A", "a\nb\n").prints("a\nb\n"),
        show("a_variable_keeps_equal_signs", "A").with("A", "b=c").prints("b=c"),
        show("a_variable_keeps_other_scripts", "A").with("A", "büro").prints("büro"),
        show("the_last_of_two_variables_counts", "A").with("A", "1").with("A", "2").prints("2"),
        show("a_default_can_be_replaced", "HOME").with("HOME", "/there").prints("/there"),
        show("home_has_a_default", "HOME").prints("/root"),
        show("user_has_a_default", "USER$LOGNAME").prints("rootroot"),
        show("shell_has_a_default", "{SHELL:+set}").prints("set"),
        argv("the_given_path_is_searched", &["greet"])
            .with("PATH", "/none")
            .ends(Code(127))
            .explains(),
        // Cargo sets it for every test, so that it would be seen if anything leaked.
        show("nothing_of_the_host_leaks_in", "{CARGO_MANIFEST_DIR-unset}").prints("unset"),
        show("term_is_not_set_without_a_terminal", "{TERM-unset}").prints("unset"),
    ]
}

fn places() -> Vec<Row> {
    vec![
        // The name alone, since the boxes of the fake have no root of their own.
        shell("the_folder_is_as_asked", "basename $(pwd)").at("/etc").prints("etc\n"),
        argv("a_folder_that_is_missing_is_refused", &["pwd"]).at("/no/such").fails_to_begin(),
        argv("a_file_is_no_folder", &["pwd"]).at("/etc/passwd").fails_to_begin(),
        shell("new_files_are_readable_by_all", "umask").prints("0022\n"),
        shell("there_is_no_terminal_unless_asked_for", "(: < /dev/tty) 2> /dev/null").ends(Code(2)),
        // The fourth is the folder that `ls` reads.
        shell("only_three_descriptors_are_open", "ls /proc/self/fd | wc -l").prints("4\n"),
    ]
}

fn streams() -> Vec<Row> {
    vec![
        shell("the_two_outputs_are_apart", "echo out; echo err >&2").prints("out\n").warns("err\n"),
        shell("output_needs_no_newline", "printf out").prints("out"),
        shell("output_may_be_any_bytes", "printf '\\377\\000\\376\\200'").prints(b"\xff\0\xfe\x80"),
        argv("without_input_there_is_none", &["cat"]),
        argv("input_arrives", &["cat"]).fed(b"hello").prints("hello"),
        argv("input_may_be_empty", &["cat"]).fed(b""),
        argv("input_may_be_any_bytes", &["cat"]).fed(b"\xff\0\n\r\x04").prints(b"\xff\0\n\r\x04"),
        shell("input_that_is_not_read_is_no_error", "exec <&-; echo done")
            .fed(b"for nobody")
            .prints("done\n"),
        shell("a_command_may_close_its_outputs", "exec >&- 2>&-; exit 3").ends(Code(3)),
    ]
}

fn users() -> Vec<Row> {
    vec![
        argv("a_command_runs_as_root", &["id", "-u"]).prints("0\n"),
        argv("a_user_by_number", &["id", "-u"]).by("1000").prints("1000\n"),
        argv("a_user_by_name", &["id", "-u"]).by("nobody").prints("65534\n"),
        argv("a_user_with_a_group", &["id", "-g"]).by("1000:2000").prints("2000\n"),
        argv("a_user_with_a_group_by_name", &["id", "-gn"]).by("nobody:users").prints("users\n"),
        argv("a_user_has_no_groups_of_root", &["id", "-G"]).by("1000:2000").prints("2000\n"),
        shell("a_user_has_its_name", "echo $USER $LOGNAME").by("nobody").prints("nobody nobody\n"),
        shell("a_user_may_not_write_everywhere", "touch /etc/mine 2>/dev/null")
            .by("1000")
            .ends(Code(1)),
        argv("a_user_that_does_not_exist_is_refused", &["id"]).by("no-such-user").fails_to_begin(),
    ]
}
