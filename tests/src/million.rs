//! A table with a million executions, made where it is: in the database.

use sqlx::PgConnection;

use crate::postgres::execute;

/// How the executions of a database end up.
#[derive(Clone, Copy, Debug)]
pub enum Fill {
    /// All wait.
    Waiting,
    /// Nearly all have ended, as in a database that has been in use for long; a few hundred wait, a few run.
    Ended,
}

/// Copies the only execution of a database until there are a million.
pub async fn fill(superuser: &mut PgConnection, fill: Fill) {
    let status = match fill {
        Fill::Waiting => "'queued'",
        Fill::Ended => {
            "CASE WHEN n % 4000 = 0 THEN 'queued' WHEN n % 4000 = 1 THEN 'running' WHEN n % 7 = 0 THEN 'failed' ELSE 'succeeded' END"
        }
    };
    execute(
        superuser,
        &format!(
            "-- no checks of references, which would take longer than all the rest
             SET session_replication_role = replica;
             INSERT INTO attune.requirements SELECT 'shell; number=' || n FROM generate_series(1, 50) n ON CONFLICT DO NOTHING;
             INSERT INTO attune.executions (id, action_ref, action, pack_version, pack_digest, parameters, requirement, status,
                                            attempts_left, attempt, worker, lease_expires_at, created_at, started_at, finished_at)
             SELECT (lpad(to_hex(n), 12, '0') || '7' || substr(md5(n::text), 1, 19))::uuid, e.action_ref || n % 20, e.action,
                    e.pack_version, e.pack_digest, '{{}}', 'shell; number=' || (n % 50 + 1), status, 1,
                    CASE status WHEN 'queued' THEN 0 ELSE 1 END,
                    CASE status WHEN 'queued' THEN NULL ELSE md5((n % 100)::text)::uuid END,
                    CASE status WHEN 'running' THEN now() + interval '1 day' END,
                    now() - interval '1 day' + n * interval '1 millisecond', now(),
                    CASE WHEN status IN ('queued', 'running') THEN NULL ELSE now() END
             FROM (SELECT action_ref, action, pack_version, pack_digest FROM attune.executions LIMIT 1) e, generate_series(1, 1000000) n, LATERAL (SELECT {status} AS status) s",
        ),
    )
    .await;
}
