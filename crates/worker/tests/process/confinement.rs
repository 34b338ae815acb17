//! What a process is given, and what it is not.

use std::os::{fd::AsRawFd, unix::fs::PermissionsExt};

use super::*;

#[tokio::test]
async fn no_variable_is_inherited() {
    let run = shell("env").await;
    let added = ["PWD=", "SHLVL=", "OLDPWD=", "_="];
    let variables: Vec<&str> =
        run.text().lines().filter(|line| !added.iter().any(|name| line.starts_with(name))).collect();
    let path = format!("PATH={}", search_path().display());
    assert_eq!(variables, [path], "besides what shells add by themselves");
}

#[tokio::test]
async fn no_descriptor_is_inherited() {
    // as if the worker's own parent had left one open
    let left_open = std::fs::File::open("/etc/hostname").unwrap();
    rustix::io::fcntl_setfd(&left_open, rustix::io::FdFlags::empty()).unwrap();
    let run = shell("ls -l /proc/self/fd").await;
    let paths: Vec<&str> =
        run.text().lines().filter_map(|line| line.split_once(" -> ")).map(|(_, to)| to).collect();
    // three streams, and the folder that ls reads
    assert_eq!(paths.len(), 4, "{} (ours is {})", run.text(), left_open.as_raw_fd());
}

#[tokio::test]
async fn signals_are_as_a_new_process_expects_them() {
    let run = shell("grep -E '^(SigBlk|SigIgn)' /proc/self/status").await;
    // the C library keeps two to itself, 32 and 33, and lets nobody change them (signal(7))
    let reserved: u64 = 0b11 << 31;
    for line in run.text().lines() {
        let (_, signals) = line.split_once(":\t").unwrap();
        assert_eq!(u64::from_str_radix(signals, 16).unwrap() & !reserved, 0, "{line}");
    }
}

#[tokio::test]
async fn it_has_a_session_and_a_group_of_its_own_and_no_terminal() {
    // pid, group, session and terminal of the shell (proc_pid_stat(5))
    let run = shell("cut -d' ' -f1,5,6,7 /proc/$$/stat; cut -d' ' -f6 /proc/$PPID/stat").await;
    let numbers: Vec<i32> = run.text().split_whitespace().map(|number| number.parse().unwrap()).collect();
    let [pid, group, session, terminal, supervisors_session] = numbers[..] else { panic!("{numbers:?}") };
    assert_eq!((group, session, terminal), (pid, supervisors_session, 0));
    // 0 when it is of another PID namespace, which rustix does not take
    let own = nix::unistd::getsid(None).unwrap().as_raw();
    assert_ne!(session, own);
}

#[tokio::test]
async fn it_gets_no_privileges_and_leaves_no_core_and_no_open_files() {
    let script = "umask; ulimit -c; grep NoNewPrivs /proc/self/status; cat /proc/self/oom_score_adj";
    assert_eq!(shell(script).await.text(), "0077\n0\nNoNewPrivs:\t1\n500");
}

#[tokio::test]
async fn limits_hold() {
    let mut ask = Ask::new("ulimit -n; ulimit -v; ulimit -H -n");
    ask.confinement.limits.open_files = Some(123);
    ask.confinement.limits.address_space = Some(1 << 30);
    assert_eq!(ask.run().await.text(), "123\n1048576\n123");
}

#[tokio::test]
async fn root_can_run_it_as_somebody_else() {
    assert!(
        rustix::process::geteuid().is_root(),
        "this test runs as root: only root can become somebody else"
    );
    let folder = tempfile::tempdir().unwrap();
    std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    let secret = folder.path().join("secret");
    std::fs::write(&secret, "of root").unwrap();
    std::fs::set_permissions(&secret, std::fs::Permissions::from_mode(0o600)).unwrap();
    let script = format!("id -u; id -g; id -G; cat {} || echo refused", secret.display());
    let mut ask = Ask::new(&script);
    ask.confinement.run_as = Some("64998:64997".parse().unwrap());
    assert_eq!(ask.run().await.text(), "64998\n64997\n64997\nrefused");
}

#[tokio::test]
async fn it_cannot_look_into_its_supervisor() {
    // root could with capabilities that it is not given; everybody else cannot anyway
    for user in [None, Some("64996")] {
        let script = "cat /proc/$PPID/environ && echo read; cat /proc/$PPID/maps && echo mapped;
            readlink /proc/$PPID/fd/3; cat /proc/$PPID/mem && echo opened; grep CapBnd /proc/self/status";
        let mut ask = Ask::new(script);
        ask.confinement.run_as = user.map(|user| user.parse().unwrap());
        let run = ask.run().await;
        let bounding = run.text().strip_prefix("CapBnd:\t").unwrap_or_else(|| panic!("{}", run.text()));
        let bounding = u64::from_str_radix(bounding, 16).unwrap();
        for (number, name) in [(19, "SYS_PTRACE"), (21, "SYS_ADMIN"), (38, "PERFMON")] {
            assert_eq!(bounding & (1 << number), 0, "CAP_{name}");
        }
    }
}
