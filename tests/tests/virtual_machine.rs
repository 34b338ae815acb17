//! Control groups of version 2 with a real kernel that has nothing else, in a virtual machine.

#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

use attune_common::{
    model::{Execution, ExecutionId, ExecutionStatus, Outcome},
    store::{ExecutionStore, LogStore, SqliteStore},
};
use attune_tests::{
    service::Machine,
    static_agent,
    virtual_machine::{Remains, VirtualMachine},
};
use serde_json::json;

/// Takes more memory than there is, beside the bystander.
const EATS: &str = "until [ -e /tmp/started ]; do sleep 0.1; done
exec dd if=/dev/zero of=/dev/null bs=300M count=1";

/// Lives while another action runs out of memory, and is killed by somebody else than the kernel.
const BYSTANDER: &str = "touch /tmp/started
until grep -q '^oom_kill [1-9]' /sys/fs/cgroup/delegated/memory.events; do sleep 0.1; done
kill -9 $$";

/// Only one that it starts takes more memory than there is.
const CHILD: &str = "dd if=/dev/zero of=/dev/null bs=300M count=1 || exit 3";

/// Starts one that can be told by nothing: without its environment, its session and its parent.
const HIDES: &str = "setsid env -i /bin/sleep 1000 >/dev/null 2>&1 & exec sleep 1000";

const ACTIONS: [(&str, &str, &str); 6] = [
    ("child", "runner_type: shell\n", CHILD),
    ("where", "runner_type: shell\n", "cat /proc/self/cgroup"),
    ("leaves", "runner_type: shell\n", "setsid sleep 1000 >/dev/null 2>&1 & (sleep 1000 &)"),
    ("bystander", "runner_type: shell\n", BYSTANDER),
    ("hides", "runner_type: shell\n", HIDES),
    ("eats", "runner_type: shell\n", EATS),
];

/// Agents, one after the other: the first in a group that is its own to divide, the second where groups can only be read, as in
/// most containers, the third killed with its supervisors, and the fourth in its place.
const SCRIPT: &str = "
export ATTUNE__DATABASE__URL=sqlite:///kept/attune.db ATTUNE__WORKER__CACHE_DIR=/tmp/cache ATTUNE__WORKER__SLOTS=2
export ATTUNE_WORKER_RUNTIMES=shell PATH=/bin HOME=/root
echo +memory >/sys/fs/cgroup/cgroup.subtree_control
for group in delegated read_only; do
    mkdir /sys/fs/cgroup/$group
    echo 160M >/sys/fs/cgroup/$group/memory.max
done
start() {
    group=$1 mode=$2 count=$3
    sh -c 'echo $$ >/sys/fs/cgroup/$0/cgroup.procs; mount -o remount,$1 /sys/fs/cgroup; exec attune-agent --max-executions $2' \
        $group $mode $count
    echo \"the agent in $group ended with $?\"
    echo \"processes left: $(pidof sleep dd)\"
    echo \"groups left: $(ls /sys/fs/cgroup/$group | grep attune-)\"
}
start delegated rw 5
start read_only ro 2

mount -o remount,rw /sys/fs/cgroup
ATTUNE__WORKER__SLOTS=1 attune-agent &
until [ \"$(pidof sleep | wc -w)\" = 2 ]; do :; done
agents=$(for one in /proc/[0-9]*; do [ \"$(readlink $one/exe)\" != /bin/attune-agent ] || echo ${one#/proc/}; done)
kill -STOP $agents
kill -KILL $agents
# the action itself dies with its supervisor
until [ \"$(pidof sleep | wc -w)\" = 1 ]; do :; done
echo \"one is hidden\"
attune-agent --max-executions 1
echo \"the agent in its place ended with $?\"
echo \"processes left: $(pidof sleep)\"
echo \"groups left: $(ls /sys/fs/cgroup | grep attune-)\"
";

async fn ended(store: &SqliteStore, id: ExecutionId, remains: &Remains) -> (Execution, Outcome) {
    let execution = store.execution(id).await.unwrap().unwrap();
    let outcome = execution.outcome.clone();
    let outcome = outcome.unwrap_or_else(|| panic!("{execution:#?} has no outcome\n{}", remains.console));
    (execution, outcome)
}

#[tokio::test(flavor = "multi_thread")]
async fn actions_have_groups_of_their_own_where_the_worker_may_make_some() {
    // first, because building it may take so long that the store puts its files together
    let agent = static_agent::x86_64();
    let machine = Machine::new().await;
    machine.push(&ACTIONS).await;
    let mut ids = Vec::new();
    for name in ["where", "leaves", "bystander", "eats", "child", "where", "eats", "hides", "where"] {
        ids.push(machine.submit(name, json!({})).await);
    }
    let virtual_machine = VirtualMachine::default();
    virtual_machine.add_program("bin/attune-agent", agent);
    for name in ["attune.db", "attune.db-wal"] {
        std::fs::copy(machine.folder().join(name), virtual_machine.root().join("kept").join(name)).unwrap();
    }
    let remains = tokio::task::spawn_blocking(|| virtual_machine.run(SCRIPT)).await.unwrap();
    let store =
        SqliteStore::open(&format!("sqlite://{}/attune.db", remains.kept.path().display())).await.unwrap();

    let said = |text: &str| assert!(remains.console.contains(text), "{text} is not in\n{}", remains.console);
    said("the agent in delegated ended with 0\nprocesses left: \ngroups left: attune-worker\n");
    said("the agent in read_only ended with 0\nprocesses left: \ngroups left: \n");

    said("one is hidden\n");
    said("the agent in its place ended with 0\nprocesses left: \ngroups left: \n");

    let log = async |id| {
        let chunks = store.read_log(id, 1, 0, u64::MAX).await.unwrap();
        String::from_utf8(chunks.into_iter().flat_map(|chunk| chunk.data).collect()).unwrap()
    };
    let divided = log(ids[0]).await;
    assert!(divided.starts_with("0::/delegated/attune-") && !divided.contains("worker"), "{divided}");
    assert_eq!(log(ids[5]).await, "0::/read_only\n");

    let (leaves, left) = ended(&store, ids[1], &remains).await;
    assert_eq!((leaves.status, left.leaked), (ExecutionStatus::Succeeded, true), "{left:?}");

    // only who ran out of memory is told so, if the kernel counts for each; without groups, a count for all has to do
    for (id, oom_killed) in [(ids[2], false), (ids[3], true), (ids[6], true)] {
        let (execution, outcome) = ended(&store, id, &remains).await;
        assert_eq!(
            (execution.status, outcome.signal, outcome.oom_killed),
            (ExecutionStatus::Failed, Some(9), oom_killed),
            "{}: {outcome:?}\n{}",
            execution.action.r#ref,
            remains.console
        );
    }
    let (_, child) = ended(&store, ids[4], &remains).await;
    assert_eq!((child.exit_code, child.oom_killed), (Some(3), true), "{child:?}");
    assert!(child.error.as_ref().is_some_and(|error| error.contains("memory ran out")), "{child:?}");
}
