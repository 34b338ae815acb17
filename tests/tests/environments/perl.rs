//! Perl: cpanm.

use attune_common::model::ExecutionStatus;
use attune_tests::{
    agent::Agent,
    pack::Pack,
    processes::run,
    service::{Machine, configured, runtimes},
};

use crate::{ended, path_without};

/// A pack that wants the module Greet.
fn pack() -> Pack {
    Pack::default().file("cpanfile", "requires 'Greet', '1.5';\n").action(
        "greet",
        "pl",
        "runner_type: perl\n",
        "use Greet; print '[\"', Greet::word(), '\", \"', $INC{'Greet.pm'}, '\"]', \"\\n\";\n",
    )
}

/// Adds a folder to a pack that holds the module as a mirror of CPAN does.
fn with_mirror(pack: Pack, folder: &str) -> Pack {
    let distribution = Pack::default()
        .file("Greet-1.5/lib/Greet.pm", "package Greet;\nour $VERSION = '1.5';\nsub word { 'hello' }\n1;\n")
        .file(
            "Greet-1.5/Makefile.PL",
            "use ExtUtils::MakeMaker; WriteMakefile(NAME => 'Greet', VERSION_FROM => 'lib/Greet.pm');\n",
        )
        .file("Greet-1.5/MANIFEST", "MANIFEST\nMakefile.PL\nlib/Greet.pm\n");
    let index = format!("{folder}/modules/02packages.details.txt");
    let pack = pack
        .file(&format!("{folder}/authors/id/M/ME/ME/CHECKSUMS"), "")
        .file(&index, "File: 02packages.details.txt\n\nGreet 1.5 M/ME/ME/Greet-1.5.tar.gz\n")
        .run(&["gzip", &index]);
    let archive = pack.path().join(folder).join("authors/id/M/ME/ME/Greet-1.5.tar.gz");
    run(distribution.path(), &["tar", "czf", archive.to_str().unwrap(), "Greet-1.5"]);
    pack
}

#[tokio::test]
async fn perl_finds_the_distributions_that_the_pack_brings() {
    let machine = Machine::new().await;
    machine.push_folder(with_mirror(pack(), "vendor/cache").path()).await;
    let worker = machine.start_with(machine.settings(), runtimes("perl").await);
    let result = machine.result("greet").await;
    assert_eq!(result[0], "hello");
    assert!(result[1].as_str().unwrap().contains("/cache/environments/"), "{result}");
    worker.drain().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn perl_gets_what_a_mirror_has() {
    let machine = Machine::new().await;
    machine.push_folder(pack().path()).await;
    let mirror = with_mirror(Pack::default(), "mirror");
    let options = format!("--mirror file://{}/mirror --mirror-only", mirror.path().display());
    let agent = Agent::start(
        &machine,
        &[],
        &[
            ("ATTUNE_WORKER_RUNTIMES", "perl"),
            ("ATTUNE__WORKER__PASS_ENVIRONMENT", "PERL_CPANM_OPT"),
            ("PERL_CPANM_OPT", &options),
        ],
    );
    let result = machine.result("greet").await;
    assert_eq!(result[0], "hello", "{}", agent.log());
    assert!(result[1].as_str().unwrap().contains("/environments/"), "{result}");
}

#[tokio::test]
async fn without_cpanm_the_log_says_that_nothing_is_installed() {
    let machine = Machine::new().await;
    machine.push_folder(pack().path()).await;
    let mut settings = machine.settings();
    settings.execution.search_path = path_without("cpanm", &settings.execution.search_path);
    // its own folder is searched first
    let folder = tempfile::tempdir().unwrap();
    let perl = folder.path().join("perl");
    std::os::unix::fs::symlink(which::which("perl").unwrap(), &perl).unwrap();
    let worker = machine.start_with(settings, configured("perl", perl).await);
    let ended = ended(&machine, "greet").await;
    let log = machine.log(ended.id, 1).await;
    assert_eq!(ended.status, ExecutionStatus::Failed);
    let remark = "[environment] nothing is installed: the pack has cpanfile, but there is no program cpanm on the \
                  worker's search path\n";
    assert!(log.starts_with(remark) && log.contains("Can't locate Greet.pm"), "{log}");
    worker.drain().await;
}
