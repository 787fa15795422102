package store

import (
	"context"
	"fmt"
	"time"

	"github.com/postroom/postroom/internal/fault"
)

// MailboxView is a mailbox as an admin sees it in a list.
type MailboxView struct {
	MailboxID     int64       `json:"mailbox_id"`
	Name          string      `json:"name"`
	Kind          string      `json:"kind"`
	Address       string      `json:"address"`
	Incoming      string      `json:"incoming"`
	Profile       string      `json:"profile"`  // "" unless it is polled
	Protocol      string      `json:"protocol"` // likewise
	Host          string      `json:"host"`     // likewise
	Trust         string      `json:"trust"`    // of a forward mailbox, else ""
	State         MailboxMood `json:"state"`
	Polling       bool        `json:"polling"` // a living daemon is at it now
	Failures      int         `json:"failures"`
	BehindSeconds int64       `json:"behind_seconds"` // how long a poll is overdue to succeed; 0: not at all
	LastPollAt    *time.Time  `json:"last_poll_at"`
	LastSuccessAt *time.Time  `json:"last_success_at"`
	NextPollAt    *time.Time  `json:"next_poll_at"`
	ErrorClass    string      `json:"error_class"` // "" when the last poll went well, as the four below
	ErrorCode     string      `json:"error_code"`
	ErrorText     string      `json:"error_text"` // several errors: separated by "; "
	ErrorHint     string      `json:"error_hint"`
	ErrorSince    *time.Time  `json:"error_since"`
}

// MailboxMood says in a word how a mailbox fares.
type MailboxMood string

// The moods.
const (
	MoodOK       MailboxMood = "ok"
	MoodNew      MailboxMood = "new"      // enabled, and not polled to an end yet
	MoodFailing  MailboxMood = "failing"  // its last poll failed
	MoodPassive  MailboxMood = "passive"  // not polled itself: its mail comes by a forward mailbox, or not at all
	MoodDisabled MailboxMood = "disabled" // by an admin
)

// MailboxViews returns every mailbox, those that are most behind first, then by name. A daemon that was not heard for
// staleAfter polls nothing.
func (db *DB) MailboxViews(ctx context.Context, staleAfter time.Duration) ([]MailboxView, error) {
	return ask[MailboxView](ctx, db, "the mailboxes", `
		WITH live AS (
			SELECT daemon_id FROM daemon WHERE heartbeat_at > now() - $1::interval
		)
		SELECT m.mailbox_id, m.name, m.kind, m.address, m.incoming,
			coalesce(p.name, ''), coalesce(p.protocol, ''), coalesce(p.host, ''),
			CASE WHEN m.kind = 'forward' THEN m.trust ELSE '' END,
			CASE WHEN NOT m.enabled THEN 'disabled'
				WHEN m.incoming <> 'server_side' THEN 'passive'
				WHEN s.error_class IS NOT NULL THEN 'failing'
				WHEN s.last_success_at IS NULL THEN 'new'
				ELSE 'ok' END,
			EXISTS (SELECT FROM live WHERE live.daemon_id = l.daemon_id),
			coalesce(s.failures, 0),
			CASE WHEN m.enabled AND m.incoming = 'server_side'
				THEN greatest(extract(epoch FROM now() - coalesce(s.last_success_at, m.enabled_at) - m.poll_interval), 0)::bigint
				ELSE 0 END AS behind,
			s.last_poll_at, s.last_success_at,
			CASE WHEN m.enabled AND m.incoming = 'server_side' THEN l.next_at END,
			coalesce(s.error_class, ''), coalesce(s.error_code, ''), replace(coalesce(s.error_text, ''), E'\n', '; '), coalesce(s.error_hint, ''),
			s.error_since
		FROM mailbox m
		LEFT JOIN profile p ON p.profile_id = m.profile_id AND m.incoming = 'server_side'
		LEFT JOIN mailbox_state s ON s.mailbox_id = m.mailbox_id
		LEFT JOIN lease l ON l.kind = 'mailbox' AND l.target_id = m.mailbox_id
		ORDER BY behind DESC, m.name`, staleAfter)
}

// FolderView is how far a folder has been listed.
type FolderView struct {
	Name        string     `json:"name"`
	UIDValidity *int64     `json:"uidvalidity"`
	UIDNext     *int64     `json:"uid_next"` // lowest UID that is not finished
	StartAt     *time.Time `json:"start_at"` // null: everything that was there
	Messages    *int64     `json:"messages"` // in the newest listing
	Missed      int64      `json:"missed"`   // came and went between two listings
	ListedAt    *time.Time `json:"listed_at"`
}

// Tally is how many receipts of a mailbox there are, by what became of them.
type Tally struct {
	Recorded    int64 `json:"recorded"`
	Duplicate   int64 `json:"duplicate"`
	Ignored     int64 `json:"ignored"`
	Quarantined int64 `json:"quarantined"`
	Stored      int64 `json:"stored"`   // octets kept, decision to be made
	Baseline    int64 `json:"baseline"` // there before the start point
	Due         int64 `json:"dispositions_due"`
	Copied      int64 `json:"dispositions_copied"` // copied to their folder, the original is still there
}

// Folders returns the folders of a mailbox by name, each as it is read now: in the account that the mailbox polls, or the
// newest that it has polled.
func (db *DB) Folders(ctx context.Context, mailboxID int64) ([]FolderView, error) {
	return ask[FolderView](ctx, db, "the folders", `
		SELECT DISTINCT ON (c.name) c.name, c.uidvalidity, c.uid_next, nullif(c.start_at, '0001-01-01 00:00:00Z'), c.messages, c.missed, c.listed_at
		FROM folder_cursor c LEFT JOIN watched_folder w ON w.mailbox_id = c.mailbox_id AND w.account = c.account AND w.folder = c.name
		WHERE c.mailbox_id = $1 ORDER BY c.name, w.account IS NULL, c.folder_id DESC`, mailboxID)
}

// TallyOf counts the receipts of a mailbox that were first seen at or after since; zero: all.
func (db *DB) TallyOf(ctx context.Context, mailboxID int64, since time.Time) (Tally, error) {
	list, err := ask[Tally](ctx, db, "the receipts' outcomes", `
		SELECT count(*) FILTER (WHERE outcome = 'recorded'), count(*) FILTER (WHERE outcome = 'duplicate'),
			count(*) FILTER (WHERE outcome = 'ignored'), count(*) FILTER (WHERE outcome = 'quarantined'),
			count(*) FILTER (WHERE state = 'stored'), count(*) FILTER (WHERE state = 'baseline'),
			count(*) FILTER (WHERE disposition = 'due'), count(*) FILTER (WHERE disposition = 'copied')
		FROM receipt JOIN folder_cursor USING (folder_id)
		WHERE mailbox_id = $1 AND ($2::timestamptz IS NULL OR seen_at >= $2)`, mailboxID, Page{Since: since}.since())
	if err != nil {
		return Tally{}, err
	}
	return list[0], nil
}

// SightingTally is how much mail was met in a mailbox, directly or by a forward mailbox.
type SightingTally struct {
	Sightings int64      `json:"sightings"`
	LastAt    *time.Time `json:"last_at"`
}

// SightingsOf counts what was met in a mailbox.
func (db *DB) SightingsOf(ctx context.Context, mailboxID int64) (SightingTally, error) {
	list, err := ask[SightingTally](ctx, db, "the sightings", `
		SELECT count(*), max(seen_at) FROM sighting WHERE mailbox_id = $1`, mailboxID)
	if err != nil {
		return SightingTally{}, err
	}
	return list[0], nil
}

// PollMark is a point in the polls of a mailbox: the polls after it have a greater token.
type PollMark struct {
	Token   int64
	Claimed bool      // a poll runs
	Now     time.Time // of PostgreSQL
}

// PollMarkOf returns where the polls of a mailbox stand. It fails with ErrNoRecord if it has never been scheduled.
func (db *DB) PollMarkOf(ctx context.Context, mailboxID int64) (PollMark, error) {
	list, err := ask[PollMark](ctx, db, "the lease", `
		SELECT token, daemon_id IS NOT NULL, now() FROM lease WHERE kind = 'mailbox' AND target_id = $1`, mailboxID)
	if err != nil {
		return PollMark{}, err
	}
	if len(list) == 0 {
		return PollMark{}, fault.New(fault.Transient, "not_scheduled", "a daemon schedules it as soon as it reads the mailboxes: try again",
			fmt.Errorf("mailbox %d has not been scheduled yet: %w", mailboxID, ErrNoRecord))
	}
	return list[0], nil
}
