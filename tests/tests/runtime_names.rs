//! Detection and manifests know the same runtimes by the same names.
//!
//! Detection depends on nothing of ours, so the names stand in two tables; this is what keeps them one vocabulary.

use attune_common::model::runtime;
use attune_worker::runtime_detect;

#[test]
fn both_tables_agree() {
    for (name, aliases) in runtime::BUILT_IN {
        for alias in aliases.iter().copied().chain([name]) {
            assert_eq!(runtime::canonical_name(alias), name);
            assert_eq!(
                runtime_detect::canonical_name(alias),
                Some(name),
                "detection does not know '{alias}'"
            );
        }
    }
}
