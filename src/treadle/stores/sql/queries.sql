-- Every statement the SQLite store runs, by name.

-- name: touch
-- Something small to commit, so that what was committed before becomes durable with it.
UPDATE store SET syncs = syncs + 1 WHERE id = 1;

-- name: insert_run
-- A new run; gives the number it has in this file, and nothing where there is one of this id.
INSERT INTO runs (id, graph, tenant, labels, status, started_at, updated_at, events, head, fence, owner,
    usd, tokens, calls, deadline)
VALUES (:id, :graph, :tenant, :labels, 'running', :at, :at, 0, :head, 1, :owner, '0', 0, 0, :deadline)
ON CONFLICT (id) DO NOTHING
RETURNING no;

-- name: find_run
-- What an owner starts from.
SELECT no, fence, events, head, owner FROM runs WHERE id = ?;

-- name: known_runs
-- Some run ids, to say which one was meant.
SELECT id FROM runs ORDER BY no DESC LIMIT 500;

-- name: take_run
-- A new owner, and with it a new fencing number.
UPDATE runs SET fence = fence + 1, owner = ? WHERE no = ?;

-- name: let_runs_go
-- Their owners have left in good order: number and fence.
UPDATE runs SET owner = '' FROM (VALUES (?, ?)) AS left
WHERE runs.no = left.column1 AND runs.fence = left.column2;

-- name: advance_run
-- The new head; changes nothing where another owner has come, which is how the old one finds out.
UPDATE runs SET events = ?, head = ?, updated_at = ? WHERE no = ? AND fence = ? AND events = ?;

-- name: advance_runs
-- The same for several: number, fence and length as known, then length, head and time as they are now.
UPDATE runs SET events = now.column4, head = now.column5, updated_at = now.column6
FROM (VALUES (?, ?, ?, ?, ?, ?)) AS now
WHERE runs.no = now.column1 AND runs.fence = now.column2 AND runs.events = now.column3;

-- name: insert_events
-- Events, a row for each.
INSERT INTO events (id, hash, body, parts, inline) VALUES (?, ?, ?, ?, ?);

-- name: read_first
-- The text of the first event of a run, which says whose history it is.
SELECT body FROM events WHERE id = ?;

-- name: read_deadline
-- When a run must have ended, as looked for.
SELECT deadline FROM runs WHERE no = ?;

-- name: has_event
-- Whether there is an event at a place.
SELECT 1 FROM events WHERE id = ?;

-- name: find_payload
-- The row of a content that is there already.
SELECT id FROM payloads
WHERE substr(digest, 1, 8) = substr(:digest, 1, 8) AND digest = :digest AND form <> 2;

-- name: insert_payload
-- New content.
INSERT INTO payloads (digest, form, content) VALUES (?, ?, ?) RETURNING id;

-- name: set_status
-- A run goes on.
UPDATE runs SET status = ? WHERE no = ?;

-- name: end_runs
-- Runs have ended: number and status.
UPDATE runs SET status = now.column2 FROM (VALUES (?, ?)) AS now WHERE runs.no = now.column1;

-- name: get_spent
-- What a run has spent so far.
SELECT usd, tokens, calls FROM runs WHERE no = ?;

-- name: set_spent
-- What a run has spent now.
UPDATE runs SET usd = ?, tokens = ?, calls = ? WHERE no = ?;

-- name: get_line
-- A line of the ledger.
SELECT rowid, requests, input_tokens, output_tokens, usd FROM ledger
WHERE run = ? AND account = ? AND node = ? AND model = ?;

-- name: insert_line
-- A new line of the ledger.
INSERT INTO ledger (run, account, node, model, requests, input_tokens, output_tokens, usd)
VALUES (?, ?, ?, ?, ?, ?, ?, ?);

-- name: update_line
-- More on a line of the ledger.
UPDATE ledger SET requests = ?, input_tokens = ?, output_tokens = ?, usd = ? WHERE rowid = ?;

-- name: open_question
-- A question is asked, or asked again by the same run; an id of another run's question is not taken over.
INSERT INTO questions (id, run, event, state, recipient, asked_at, deadline, opening, answered_by, answer)
VALUES (:id, :run, :event, 'open', :to, :at, :deadline, :opening, '', '')
ON CONFLICT (id) DO UPDATE SET event = excluded.event, state = 'open', recipient = excluded.recipient,
    asked_at = excluded.asked_at, deadline = excluded.deadline, opening = excluded.opening,
    answered_by = '', answer = ''
WHERE questions.run = excluded.run
RETURNING run;

-- name: answer_question
-- The run has taken an answer up.
UPDATE questions SET state = 'answered', answered_by = ?, answer = ? WHERE id = ? AND run = ?;

-- name: withdraw_question
-- Nobody needs the answer any more.
UPDATE questions SET state = 'withdrawn' WHERE id = ? AND run = ?;

-- name: withdraw_questions
-- Runs, given as a JSON list, are over, and with them what they asked.
UPDATE questions SET state = 'withdrawn' WHERE run IN (SELECT value FROM json_each(?)) AND state = 'open';

-- name: find_question
-- How a question stands.
SELECT runs.id, questions.state, questions.opening, questions.deadline, questions.answered_by,
    questions.answer
FROM questions JOIN runs ON runs.no = questions.run WHERE questions.id = ?;

-- name: known_questions
-- Some question ids, to say which one was meant.
SELECT id FROM questions ORDER BY rowid DESC LIMIT 500;

-- name: pending_answers
-- Answers that wait to be taken up.
SELECT by, value FROM requests WHERE kind = 'answer' AND question = ? AND opening = ?;

-- name: pending_late
-- Whether a question is about to be closed because its deadline has passed.
SELECT 1 FROM requests WHERE kind = 'late' AND question = ? AND opening = ?;

-- name: pending_cancel
-- Whether the same person has asked for the same before.
SELECT 1 FROM requests WHERE kind = 'cancel' AND run = ? AND by = ?;

-- name: insert_request
-- Something is wanted of a run.
INSERT INTO requests (run, kind, at, by, reason, question, opening, value) VALUES (?, ?, ?, ?, ?, ?, ?, ?);

-- name: drop_answers
-- The question is settled, or opened anew: earlier answers are taken up.
DELETE FROM requests WHERE kind IN ('answer', 'late') AND run = ? AND question = ?;

-- name: drop_cancels
-- The owner has heard that the run is to be cancelled.
DELETE FROM requests WHERE kind = 'cancel' AND run = ?;

-- name: drop_requests
-- Runs, given as a JSON list, are over.
DELETE FROM requests WHERE run IN (SELECT value FROM json_each(?));

-- name: run_status
-- Number and recorded status of a run.
SELECT no, status FROM runs WHERE id = ?;

-- name: read_events
-- Events of one run in order; the payloads come by `read_payloads`.
SELECT id & 4294967295, hash, body, parts, inline FROM events WHERE id > ? AND id <= ? ORDER BY id;

-- name: read_payloads
-- Contents by the rows they stand in, given as a JSON list.
SELECT id, digest, form, content FROM payloads WHERE id IN (SELECT value FROM json_each(?));

-- name: read_head
-- Number, length and newest hash of a run.
SELECT no, events, head FROM runs WHERE id = ?;

-- name: read_runs
-- Summaries, the newest run first; a parameter that is NULL restricts nothing.
SELECT no, id, graph, tenant, labels, status, started_at, updated_at, events, head, owner, usd, tokens, calls,
    (SELECT count(*) FROM questions WHERE questions.run = runs.no AND questions.state = 'open'
        AND NOT EXISTS (SELECT 1 FROM requests
            WHERE requests.question = questions.id AND requests.opening = questions.opening))
FROM runs
WHERE (:graph IS NULL OR graph = :graph) AND (:status IS NULL OR status = :status)
ORDER BY no DESC;

-- name: read_these_runs
-- The same for runs named in a JSON list, by way of their index.
SELECT no, id, graph, tenant, labels, status, started_at, updated_at, events, head, owner, usd, tokens, calls,
    (SELECT count(*) FROM questions WHERE questions.run = runs.no AND questions.state = 'open'
        AND NOT EXISTS (SELECT 1 FROM requests
            WHERE requests.question = questions.id AND requests.opening = questions.opening))
FROM runs
WHERE id IN (SELECT value FROM json_each(:ids)) AND (:graph IS NULL OR graph = :graph)
    AND (:status IS NULL OR status = :status)
ORDER BY no DESC;

-- name: read_due_runs
-- Runs that have not ended and must have by a moment, by way of their index.
SELECT id, graph, deadline FROM runs WHERE status = 'running' AND deadline <= ? ORDER BY deadline;

-- name: read_questions
-- Questions with the event that asked them, the oldest first; one with an answer waiting counts as answered,
-- one that is about to be closed as withdrawn.
SELECT id, graph, body, parts, inline, shown_state FROM (
    SELECT runs.id, runs.graph, events.body, events.parts, events.inline, questions.asked_at,
        questions.rowid AS place,
        CASE WHEN questions.state <> 'open' THEN questions.state
            ELSE coalesce((SELECT CASE requests.kind WHEN 'late' THEN 'withdrawn' ELSE 'answered' END
                FROM requests WHERE requests.question = questions.id AND requests.opening = questions.opening
                LIMIT 1), 'open')
        END AS shown_state
    FROM questions JOIN runs ON runs.no = questions.run JOIN events ON events.id = questions.event
    WHERE (:id IS NULL OR questions.id = :id) AND (:run IS NULL OR questions.run = :run)
        AND (:to IS NULL OR questions.recipient = :to) AND (:due IS NULL OR questions.deadline <= :due)
)
WHERE :state IS NULL OR shown_state = :state
ORDER BY asked_at, place;

-- name: read_requests
-- Requests not taken up yet, in order of arrival.
SELECT runs.id, requests.kind, requests.at, requests.by, requests.reason, requests.question,
    requests.opening, requests.value, requests.id
FROM requests JOIN runs ON runs.no = requests.run
WHERE :run IS NULL OR requests.run = :run
ORDER BY requests.id;

-- name: read_ledger
-- What was charged to a run.
SELECT account, node, model, requests, input_tokens, output_tokens, usd FROM ledger WHERE run = ?
ORDER BY account, node, model;

-- name: read_question_states
-- The questions table of one run, to be compared with its events.
SELECT id, event & 4294967295, state, opening, answered_by, answer, recipient, asked_at, deadline
FROM questions WHERE run = ?;
