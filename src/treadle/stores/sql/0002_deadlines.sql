-- When a run must have ended: any engine that is open looks for those whose deadline is near.

ALTER TABLE runs ADD COLUMN deadline REAL;
UPDATE runs SET deadline = (
    SELECT json_extract(substr(CAST(events.body AS TEXT), length('run_started') + 1), '$.deadline')
    FROM events WHERE events.id = runs.no * 4294967296 + 1
);
CREATE INDEX runs_by_deadline ON runs (deadline) WHERE deadline IS NOT NULL AND status = 'running';
