//! The command line.

#![expect(clippy::doc_markdown, reason = "clap prints these texts as they are, backticks included")]

mod help;

use std::{ffi::OsString, path::PathBuf};

use attune_common::model::{ExecutionId, ExecutionStatus};
use clap::{
    Args, Parser, Subcommand, builder::PossibleValuesParser, builder::TypedValueParser, error::ErrorKind,
};

use self::help::{examples, first_examples, long_help};
use crate::{output::Format, parameters::ParameterArguments};

/// Run actions in the languages that your machines have.
///
/// Actions are scripts with a manifest, kept in packs. Workers tell which interpreters they have, and every execution
/// goes to a worker that satisfies what its action requires. 'attune dev' is all of that on one machine.
#[derive(Debug, Parser)]
#[command(name = "attune", version, max_term_width = 100)]
#[command(after_help = first_examples(), after_long_help = long_help())]
pub(crate) struct Arguments {
    /// What holds for every command.
    #[command(flatten)]
    pub(crate) global: Global,
    /// What to do.
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What holds for every command.
#[derive(Args, Debug)]
#[command(next_help_heading = "Global options")]
pub(crate) struct Global {
    /// Form of standard output
    #[arg(short, long, global = true, value_enum, default_value_t, value_name = "FORM")]
    pub(crate) output: Format,

    /// Where the API is; the token comes from ATTUNE_API_TOKEN_FILE or ATTUNE_API_TOKEN
    #[arg(long, global = true, value_name = "URL", env = "ATTUNE_API_URL", hide_env_values = true)]
    pub(crate) api_url: Option<String>,

    /// State folder of 'attune dev'; by default .attune here, or in a parent folder
    #[arg(long, global = true, value_name = "DIR")]
    pub(crate) state_dir: Option<PathBuf>,

    /// Send the token over plain http to other machines, too
    #[arg(long, global = true)]
    pub(crate) insecure_http: bool,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// API and worker on this machine, in one process
    ///
    /// Finds the interpreters of this machine, keeps its state in an SQLite file, and serves until Ctrl-C (the first
    /// lets finish what runs, the second cancels it). The built-in example pack is there from the start.
    #[command(after_help = examples(&[
        ("attune dev", "serve until Ctrl-C; then use attune in another terminal"),
        ("attune dev --run examples.tour", "run one action or group, then end"),
        ("attune dev --pack ./mypack --run mypack.hello -p name=World", "try your own"),
    ]))]
    Dev(DevArguments),

    /// Run an action or a group of actions
    ///
    /// Standard output and error of the action are passed on while it runs; the exit status says how it ended. Ctrl-C
    /// asks for its end, a second one leaves it alone. Members of a group run one after the other; those that no worker
    /// can run are skipped. On a terminal, control sequences other than colours are taken out of what actions write.
    #[command(after_help = examples(&[
        ("attune run examples.checksum_files", "with default parameters"),
        ("attune run examples.summarise_csv -p group_by=product -p decimals=1", "with parameters"),
        ("attune run examples.redact_text -p text=@letter.txt > clean.txt", "a value from a file"),
        ("echo '{\"top\": 3}' | attune run examples.analyse_access_log --params-file -", "all from standard input"),
        ("attune run examples.fit_trend -o json | jq .result", "the finished execution for programs"),
        ("id=$(attune run examples.fit_trend --detach)", "only submit"),
    ]))]
    Run(RunArguments),

    /// Look at executions, or cancel them
    #[command(subcommand)]
    Executions(ExecutionsCommand),

    /// Show what an execution wrote
    ///
    /// Its standard output goes to standard output, its standard error to standard error; with -o json every piece
    /// becomes a line of JSON on standard output.
    #[command(after_help = examples(&[
        ("attune logs 0190163d-8694-739b-aea5-966c26f8ad91", "what there is so far"),
        ("attune logs -f 0190163d-8694-739b-aea5-966c26f8ad91", "until it ends"),
    ]))]
    Logs(LogsArguments),

    /// List the files that an execution left, or download them
    #[command(subcommand)]
    Artifacts(ArtifactsCommand),

    /// Push packs, or look at them
    #[command(subcommand)]
    Pack(PackCommand),

    /// Look at actions
    #[command(subcommand)]
    Actions(ActionsCommand),

    /// List workers and what they can run, or keep work from one
    ///
    /// Workers of the same name are told apart by their instance, the end of the id that each start of a worker draws.
    #[command(after_help = examples(&[
        ("attune workers", "who is there, with which interpreters"),
        ("attune workers cordon build-7 --reason 'new disk'", "let it finish what it runs, and nothing more"),
    ]))]
    Workers {
        /// What to do instead of listing them.
        #[command(subcommand)]
        command: Option<WorkersCommand>,
    },

    /// List the runtimes that workers have brought, and who offers them
    #[command(after_help = examples(&[("attune runtimes", "which languages there are, in which versions")]))]
    Runtimes,

    /// List what executions require, and who waits for it
    #[command(after_help = examples(&[
        ("attune requirements", "a requirement with executions waiting and no worker needs your attention"),
    ]))]
    Requirements,
}

/// Arguments of `dev`.
#[derive(Args, Debug)]
pub(crate) struct DevArguments {
    /// Address of the API [default: 127.0.0.1:8650, with --run any free port]
    #[arg(long, value_name = "HOST:PORT")]
    pub(crate) listen: Option<String>,

    /// Folder of a pack to push at the start; may be given several times
    #[arg(long = "pack", value_name = "DIR")]
    pub(crate) packs: Vec<PathBuf>,

    /// How many executions run at once [default: the number of processors]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1024))]
    pub(crate) slots: Option<u32>,

    /// Run this action or group once, and end with its exit status
    #[arg(long, value_name = "REF")]
    pub(crate) run: Option<String>,

    /// Parameters of the action to run.
    #[command(flatten)]
    pub(crate) parameters: ParameterArguments,
}

/// Arguments of `run`.
#[derive(Args, Debug)]
pub(crate) struct RunArguments {
    /// The action or group, such as examples.tour
    #[arg(value_name = "REF")]
    pub(crate) action: String,

    /// Watch until it ends (the default)
    #[arg(long, conflicts_with = "detach")]
    pub(crate) follow: bool,

    /// Only submit; prints the execution's id
    #[arg(long)]
    pub(crate) detach: bool,

    /// With a key that was used before, what was submitted then is followed instead of running again
    #[arg(long, value_name = "KEY")]
    pub(crate) idempotency_key: Option<String>,

    /// Parameters of the action.
    #[command(flatten)]
    pub(crate) parameters: ParameterArguments,
}

/// Commands about executions.
#[derive(Debug, Subcommand)]
pub(crate) enum ExecutionsCommand {
    /// List executions, the newest first
    #[command(after_help = examples(&[
        ("attune executions list --status queued,running", "what is going on"),
        ("attune executions list --action examples.fit_trend --limit 5", "of one action"),
    ]))]
    List {
        /// Only executions of this action
        #[arg(long, value_name = "REF")]
        action: Option<String>,

        /// Only executions with one of these statuses
        #[arg(long = "status", value_name = "STATUS", value_delimiter = ',', value_parser = status_parser())]
        statuses: Vec<ExecutionStatus>,

        /// At most this many
        #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=500))]
        limit: u32,
    },
    /// Show everything about an execution
    #[command(after_help = examples(&[
        ("attune executions show 0190163d-8694-739b-aea5-966c26f8ad91", "parameters, times, outcome and result"),
    ]))]
    Show {
        /// Id of the execution
        id: ExecutionId,
    },
    /// Ask for the end of an execution
    ///
    /// One that waits is cancelled at once; one that runs is ended by its worker, which may take a moment.
    #[command(after_help = examples(&[
        ("attune executions cancel 0190163d-8694-739b-aea5-966c26f8ad91", "nothing happens to one that has ended"),
    ]))]
    Cancel {
        /// Id of the execution
        id: ExecutionId,
    },
}

/// Arguments of `logs`.
#[derive(Args, Debug)]
pub(crate) struct LogsArguments {
    /// Id of the execution
    pub(crate) id: ExecutionId,

    /// Go on until the execution ends
    #[arg(short, long)]
    pub(crate) follow: bool,

    /// Number of the attempt [default: the current or last one]
    #[arg(long, value_name = "N", conflicts_with = "follow", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) attempt: Option<u32>,
}

/// Commands about artifacts.
#[derive(Debug, Subcommand)]
pub(crate) enum ArtifactsCommand {
    /// List the files that an execution left
    ///
    /// An action leaves files by writing them into the folder that the variable ATTUNE_ARTIFACTS_DIR names. They are stored
    /// when it has ended, however it ended.
    #[command(after_help = examples(&[
        ("attune artifacts list 0190163d-8694-739b-aea5-966c26f8ad91", "paths, sizes and types"),
    ]))]
    List {
        /// Id of the execution
        id: ExecutionId,
    },
    /// Download one of the files, or all of them
    ///
    /// Files keep their paths below the folder that they are put into; a single one keeps its name. Each appears when it is
    /// whole and its SHA-256 is right; where they are is printed. What is there already is left alone.
    #[command(after_help = examples(&[
        ("attune artifacts download 0190163d-8694-739b-aea5-966c26f8ad91", "all of them, into this folder"),
        ("attune artifacts download 0190163d-8694-739b-aea5-966c26f8ad91 --to results/", "into another one"),
        ("attune artifacts download 0190163d-8694-739b-aea5-966c26f8ad91 summary.csv --to - | head", "one, to look at"),
    ]))]
    Download(DownloadArguments),
}

/// Arguments of `artifacts download`.
#[derive(Args, Debug)]
pub(crate) struct DownloadArguments {
    /// Id of the execution
    pub(crate) id: ExecutionId,

    /// Path of the file, as the list shows it; all of them when not given
    pub(crate) path: Option<String>,

    /// Folder to put them into; with PATH also a file, or - for standard output
    #[arg(long, value_name = "PLACE", default_value = ".")]
    pub(crate) to: PathBuf,

    /// Write over files that are there already
    #[arg(long)]
    pub(crate) force: bool,
}

/// Commands about workers.
#[derive(Debug, Subcommand)]
pub(crate) enum WorkersCommand {
    /// Keep new work from every worker of a name, until that is undone
    ///
    /// What they run goes on. The cordon is around the name, so that a restart does not undo it.
    #[command(after_help = examples(&[
        ("attune workers cordon build-7 --reason 'new disk'", "the list of workers shows the reason"),
    ]))]
    Cordon {
        /// Name of the workers
        name: String,

        /// Why, for whoever looks at the worker
        #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
        reason: String,
    },
    /// Let workers of a name take work again
    #[command(after_help = examples(&[
        ("attune workers uncordon build-7", "from its next heartbeat on, it takes work again"),
    ]))]
    Uncordon {
        /// Name of the workers
        name: String,
    },
}

/// Commands about packs.
#[derive(Debug, Subcommand)]
pub(crate) enum PackCommand {
    /// Push a folder as the current version of its pack
    ///
    /// Executions that were submitted before go on with the version of then.
    #[command(after_help = examples(&[
        ("attune pack push ./mypack", "the folder with pack.yaml and actions/*.yaml"),
    ]))]
    Push {
        /// The pack's folder
        #[arg(value_name = "DIR")]
        folder: PathBuf,
    },
    /// List packs
    #[command(after_help = examples(&[("attune pack list", "names, versions and digests")]))]
    List,
    /// Show a pack and its actions
    #[command(after_help = examples(&[("attune pack show examples", "what is in the example pack")]))]
    Show {
        /// Name of the pack
        #[arg(value_name = "REF")]
        name: String,
    },
}

/// Commands about actions.
#[derive(Debug, Subcommand)]
pub(crate) enum ActionsCommand {
    /// List actions
    #[command(after_help = examples(&[("attune actions list --pack examples", "those of one pack")]))]
    List {
        /// Only actions of this pack
        #[arg(long, value_name = "REF")]
        pack: Option<String>,
    },
    /// Show an action: what it takes, what it requires, and who can run it
    #[command(after_help = examples(&[
        ("attune actions show examples.summarise_csv", "parameters with types and defaults"),
    ]))]
    Show {
        /// The action, such as examples.summarise_csv
        #[arg(value_name = "REF")]
        action: String,
    },
}

/// Reads a command line. What is wrong with it is told in one line, like every other error.
pub(crate) fn parse(words: impl IntoIterator<Item = OsString>) -> Result<Arguments, Unparsed> {
    Arguments::try_parse_from(words).map_err(|error| match error.kind() {
        ErrorKind::DisplayHelp
        | ErrorKind::DisplayVersion
        | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => Unparsed::Help(error),
        _ => Unparsed::Fault(one_line(&error)),
    })
}

/// Why a command line leads to no command.
#[derive(Debug)]
pub(crate) enum Unparsed {
    /// Help or the version was asked for.
    Help(clap::Error),
    /// It cannot be understood.
    Fault(String),
}

/// What clap says, without the usage and in one line.
fn one_line(error: &clap::Error) -> String {
    let text = error.render().to_string();
    let words: Vec<&str> = text
        .lines()
        .map(str::trim)
        .take_while(|line| !line.starts_with("Usage:") && !line.starts_with("For more information"))
        .filter(|line| !line.is_empty())
        .collect();
    let text =
        words.join(" ").replace(" tip: ", "; ").replace(" [possible values: ", "; possible values are [");
    format!("{}; see --help", text.trim_start_matches("error: "))
}

fn status_parser() -> impl TypedValueParser<Value = ExecutionStatus> {
    PossibleValuesParser::new(ExecutionStatus::ALL.map(ExecutionStatus::as_str))
        .try_map(|name| ExecutionStatus::from_name(&name).ok_or("no such status"))
}

#[cfg(test)]
mod tests;
