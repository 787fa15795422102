package cli_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/postroom/postroom/internal/cli"
	"github.com/postroom/postroom/internal/fault"
	"github.com/postroom/postroom/internal/mailbox"
	"github.com/postroom/postroom/internal/pgtest"
	"github.com/postroom/postroom/internal/raw"
	"github.com/postroom/postroom/internal/source"
	"github.com/postroom/postroom/internal/store"
)

const activityID = "00000000-0000-7000-8000-0000000000a1"

// office is a database with the records and mail of store's testdata, and the environment that names it.
type office struct {
	db  *store.DB
	env []string
}

func newOffice(t *testing.T) *office {
	t.Helper()
	url := pgtest.URL(t)
	o := &office{db: pgtest.Open(t, store.Options{URL: url}), env: []string{"POSTROOM_DATABASE_URL=" + url}}
	testdata := filepath.Join("..", "store", "testdata")
	letter, err := os.ReadFile(filepath.Join(testdata, "letter.eml"))
	if err != nil {
		t.Fatal(err)
	}
	sql, err := os.ReadFile(filepath.Join(testdata, "office.sql"))
	if err != nil {
		t.Fatal(err)
	}
	err = o.db.InTx(t.Context(), pgx.TxOptions{}, func(ctx context.Context, tx pgx.Tx) error {
		if _, err := raw.New(o.db.Pool()).Put(ctx, tx, []*source.Raw{source.RawOf(letter)}); err != nil {
			return err
		}
		_, err := tx.Conn().PgConn().Exec(ctx, string(sql)).ReadAll()
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return o
}

func (o *office) run(t *testing.T, args ...string) result {
	t.Helper()
	return invoke(t, cli.Deps{}, o.env, "", args...)
}

func (o *office) exec(t *testing.T, sql string) {
	t.Helper()
	if _, err := o.db.Pool().Exec(t.Context(), sql); err != nil {
		t.Fatal(err)
	}
}

// harmless fails the test if the output holds what could take a terminal over.
func (r result) harmless(t *testing.T) {
	t.Helper()
	if strings.ContainsAny(r.out+r.err, "\x1b\x00\u202e") {
		t.Errorf("got control characters: %q", r.out)
	}
}

func TestMigrate(t *testing.T) {
	env := []string{"POSTROOM_DATABASE_URL=" + pgtest.EmptyURL(t), "POSTROOM_DATABASE_SCHEMA=other"}
	r := invoke(t, cli.Deps{}, env, "", "status")
	r.wants(t, cli.Failed, "schema other is at version 0", "postroom migrate")
	r = invoke(t, cli.Deps{}, env, "", "migrate")
	r.wants(t, cli.Done, "applied 00001_records.sql\n", "schema other is up to date\n")
	r = invoke(t, cli.Deps{}, env, "", "migrate", "--output", "json")
	got := decode[struct {
		Schema  string
		Applied []string
	}](t, r.out)
	if got.Schema != "other" || got.Applied == nil || len(got.Applied) > 0 {
		t.Errorf("got %+v, want nothing applied the second time", got)
	}
	invoke(t, cli.Deps{}, env, "", "status").wants(t, cli.Done, "nothing needs you")
	invoke(t, cli.Deps{}, env, "", "mailbox", "list", "--output", "json").wants(t, cli.Done, "[]\n")
}

func TestDatabaseThatDoesNotAnswer(t *testing.T) {
	env := []string{"POSTROOM_DATABASE_URL=postgres://me:hunter2@127.0.0.1:1/db?sslmode=disable"}
	r := invoke(t, cli.Deps{}, env, "", "status")
	r.wants(t, cli.Failed, "postroom: ", "hint: ")
	if strings.Contains(r.err, "hunter2") {
		t.Errorf("the password is shown: %s", r.err)
	}
	env = append(env[:0], "POSTROOM_DATABASE_URL=postgres://me@127.0.0.1:1/db", "POSTROOM_DATABASE_PASSWORD_FILE=/nonexistent")
	invoke(t, cli.Deps{}, env, "", "status").wants(t, cli.Configuration, "/nonexistent", "hint: ")
}

func TestMailboxList(t *testing.T) {
	o := newOffice(t)
	r := o.run(t, "mailbox", "list")
	r.wants(t, cli.Done, "NAME", "support", "failing", "2h 59m", "polling now", "trust warn", "passive", "disabled")
	r.harmless(t)
	type view struct {
		Name, State   string
		BehindSeconds *int64  `json:"behind_seconds"`
		ErrorCode     *string `json:"error_code"`
	}
	got := decode[[]view](t, o.run(t, "mailbox", "list", "--output", "json").out)
	if len(got) != 5 || got[0].Name != "support" || got[0].State != "failing" || *got[0].ErrorCode != "login_refused" || *got[1].BehindSeconds != 0 {
		t.Errorf("got %+v", got)
	}
}

func TestMailboxShow(t *testing.T) {
	o := newOffice(t)
	r := o.run(t, "mailbox", "show", "support")
	r.wants(t, cli.Done, "support (queue, id 2)", "pop3 on pop.corp.example", "delete after 24h0m0s", "the server refused the password (login_refused, auth)",
		"write the new password to the file", "1 duplicate", "1 server copy to be dealt with", "4 failures in a row", "FOLDER")
	r = o.run(t, "mailbox", "show", "1")
	r.wants(t, cli.Done, "alice@corp.example, a@corp.example", "1 recorded, 0 duplicate, 1 ignored, 1 quarantined, 1 to be decided, 1 from before", "INBOX")
	o.run(t, "mailbox", "show", "nobody").wants(t, cli.Failed, `mailbox "nobody": no such record`, "postroom mailbox list")
	o.exec(t, `UPDATE folder_cursor SET start_at = '0001-01-01 00:00:00Z' WHERE folder_id = 1`)
	o.run(t, "mailbox", "show", "alice").wants(t, cli.Done, "  all\n")
	alice := decode[struct{ Folders []map[string]any }](t, o.run(t, "mailbox", "show", "alice", "--output", "json").out)
	if at, ok := alice.Folders[0]["start_at"]; !ok || at != nil {
		t.Errorf("start: all: got start_at %v, want null", at)
	}
	got := decode[map[string]any](t, o.run(t, "mailbox", "show", "bob", "--output", "json").out)
	if got["name"] != "bob" || got["state"] != "passive" || len(got["folders"].([]any)) != 0 {
		t.Errorf("got %+v", got)
	}
}

func TestStatus(t *testing.T) {
	o := newOffice(t)
	r := o.run(t, "status")
	if r.code != cli.Failed || r.err != "" {
		t.Errorf("got exit code %d and %q, want 1 and the reason on standard output", r.code, r.err)
	}
	r.code = cli.Done
	r.wants(t, cli.Done, "1 alive, 1 stale", "5: 1 ok, 1 new, 1 failing, 1 passive, 1 disabled", "failing:\n  support: the server refused the password (login_refused, auth)\n    4 failures since ", ", behind 2h 59m, next try ", "\n    hint: write the new password",
		"3: 2 untrusted, 1 too_large", "needs you:\n  support: the server refused the password (login_refused, auth)\n    hint: write the new password")
	r.harmless(t)

	type problem struct{ Code, Mailbox, Hint string }
	type overview struct {
		OK          bool
		Problems    []problem
		Quarantined int
		Behind      []map[string]any
	}
	problems := func() (int, overview) {
		r := o.run(t, "status", "--output", "json")
		return r.code, decode[overview](t, r.out)
	}
	if code, got := problems(); code != cli.Failed || got.OK || len(got.Problems) != 1 || got.Problems[0].Code != "login_refused" || got.Quarantined != 3 {
		t.Errorf("got %d %+v, want one problem", code, got)
	}
	o.exec(t, `UPDATE mailbox_state SET error_class = 'transient', error_code = 'connect_refused' WHERE mailbox_id = 2`)
	if code, got := problems(); code != cli.Failed || len(got.Problems) != 1 || got.Problems[0].Code != "mailbox_behind" {
		t.Errorf("3 hours behind: got %d %+v, want mailbox_behind", code, got)
	}
	o.exec(t, `UPDATE mailbox_state SET last_success_at = now() - interval '10 minutes' WHERE mailbox_id = 2`)
	if code, got := problems(); code != cli.Done || !got.OK || len(got.Behind) != 1 || got.Problems == nil {
		t.Errorf("10 minutes behind, and mail in quarantine: got %d %+v, want ok", code, got)
	}
	o.exec(t, `UPDATE mailbox_state SET error_text = E'refused A\nrefused B', failures = 1 WHERE mailbox_id = 2`)
	o.run(t, "status").wants(t, cli.Done, "failing:\n  support: refused A; refused B (connect_refused, transient)\n    1 failure since ", "hint: write the new password",
		"nothing needs you: what fails is tried again")
	o.exec(t, `UPDATE daemon SET heartbeat_at = now() - interval '1 minute'`)
	if code, got := problems(); code != cli.Failed || len(got.Problems) != 1 || got.Problems[0].Code != "no_daemon" {
		t.Errorf("no daemon: got %d %+v, want no_daemon alone", code, got)
	}
}

func TestActivity(t *testing.T) {
	o := newOffice(t)
	r := o.run(t, "activity", "list", "--mailbox", "support", "--since", "1d")
	r.wants(t, cli.Done, activityID, "Ann@customer.example", "Invoice \uFFFD")
	r.harmless(t)
	r = o.run(t, "activity", "show", activityID)
	r.wants(t, cli.Done, "Ann Customer <Ann@customer.example> (contact 5)", "invoice.zip (application/zip, 63 B)", "met in         support", "Please pay.\n", "\uFFFD[2Jbye\n")
	r.harmless(t)
	list := decode[[]map[string]any](t, o.run(t, "activity", "list", "--output", "json").out)
	show := decode[map[string]any](t, o.run(t, "activity", "show", activityID, "--output", "json").out)
	if len(list) != 1 || list[0]["activity_id"] != activityID || show["subject"] != "Invoice \x1b[31mred" || len(show["parties"].([]any)) != 2 {
		t.Errorf("got %+v and %+v", list, show)
	}
	o.run(t, "activity", "list", "--mailbox", "nobody").wants(t, cli.Failed, `"nobody"`)
	o.run(t, "activity", "show", strings.Replace(activityID, "a1", "ff", 1)).wants(t, cli.Failed, "no such record")
}

func TestAttachment(t *testing.T) {
	const digest = "a5e48a738dc4964cec64801ed262c190859bdd6b3b7ee82de05d121131feb1ae"
	o := newOffice(t)
	r := o.run(t, "activity", "attachment", activityID, "1")
	r.wants(t, cli.Done, "PK-invoice \x00\x01")
	if sum := sha256.Sum256([]byte(r.out)); hex.EncodeToString(sum[:]) != digest {
		t.Errorf("got sha256 %x, want %s", sum, digest)
	}
	path := filepath.Join(t.TempDir(), "invoice.zip")
	o.run(t, "activity", "attachment", activityID, "1", "-o", path).wants(t, cli.Done)
	written, err := os.ReadFile(path)
	if err != nil || !bytes.Equal(written, []byte(r.out)) {
		t.Errorf("got %q, %v in the file; want the same", written, err)
	}
	o.run(t, "activity", "attachment", activityID, "1", "-o", path).wants(t, cli.Failed, "exists already", "hint: name another file")
	o.run(t, "activity", "attachment", activityID, "99").wants(t, cli.Failed, "activity "+activityID+", attachment 99: no such record", "lists its attachments")

	o.exec(t, `UPDATE attachment SET sha256 = sha256('x')`)
	path += ".2"
	o.run(t, "activity", "attachment", activityID, "1", "-o", path).wants(t, cli.Failed, "it was recorded as", "hint: ")
	if _, err := os.Stat(path); !os.IsNotExist(err) {
		t.Errorf("got %v, want no file left behind", err)
	}
}

func TestExplain(t *testing.T) {
	o := newOffice(t)
	r := o.run(t, "explain", "<one@customer.example>")
	r.wants(t, cli.Done, "receipt 11: recorded", "UIDVALIDITY 99, UID 5", "activity "+activityID, "465 octets from INBOX", "is ordinary: no wrapper (original 1)",
		"server copy  left where it is\n", "receipt 12: duplicate", "server copy  to be deleted from 2")
	o.exec(t, `UPDATE receipt SET disposition = 'done' WHERE receipt_id = 12`)
	o.run(t, "explain", "12").wants(t, cli.Done, "dealt with, the server confirmed; the mailbox's rule now: deleted")
	o.exec(t, `INSERT INTO trace (receipt_id, steps) VALUES (17, '[{"stage":"attribute","code":"evidence","args":{"kind":"plus","mailbox_id":"4","strength":"strong"}},{"stage":"trust","code":"sender_not_recipient","args":{"from":"bob+tokentoken@corp.example"}}]')`)
	o.run(t, "explain", "17").wants(t, cli.Done, "plus names mailbox 4 (bob) (strong)", "sender bob+…@corp.example is")
	if r := o.run(t, "explain", "17", "--output", "json"); strings.Contains(r.out, "tokentoken") || !strings.Contains(r.out, `"mailbox_id":"4"`) {
		t.Errorf("got %s, want the id and no token", r.out)
	}
	o.run(t, "explain", "13").wants(t, cli.Done, "quarantined, untrusted: the forward mailbox's trust policy is not met", "a_code_of_the_future")
	o.run(t, "explain", "14").wants(t, cli.Done, "octets kept  no")
	o.run(t, "explain", "15").wants(t, cli.Done, "to be decided", "tried        2 times")
	o.run(t, "explain", "16").wants(t, cli.Done, "there before the start point")
	o.run(t, "explain", "none@x").wants(t, cli.Failed, `nothing is known of "none@x"`, "hint: ")
	type step struct{ Stage, Code, Text string }
	got := decode[[]struct {
		ReceiptID int64 `json:"receipt_id"`
		Items     []map[string]any
		Traces    []struct{ Steps []step }
	}](t, o.run(t, "explain", "11", "--output", "json").out)
	if len(got) != 1 || got[0].ReceiptID != 11 || len(got[0].Items) != 1 || got[0].Traces[0].Steps[0] != (step{"fetch", "fetched", "465 octets from INBOX"}) {
		t.Errorf("got %+v", got)
	}
}

func TestFind(t *testing.T) {
	o := newOffice(t)
	r := o.run(t, "find", "--address", "ann@CUSTOMER.example")
	r.wants(t, cli.Done, activityID)
	r.harmless(t)
	o.run(t, "find", "--since", "0001-01-01").wants(t, cli.Done, activityID)
	o.run(t, "find", "--message-id", "two@customer.example").wants(t, cli.Done, "(deleted) 00000000")
	r = o.run(t, "find", "--address", "nobody@x", "--output", "json")
	r.wants(t, cli.Failed, "nothing was found", "hint: ")
	if r.out != "[]\n" {
		t.Errorf("got %q, want an empty array", r.out)
	}
}

func TestQuarantine(t *testing.T) {
	o := newOffice(t)
	r := o.run(t, "quarantine", "list", "--limit", "1")
	r.wants(t, cli.Done, "untrusted: 2 — the forward mailbox's trust policy is not met", "18 (original 1)", "… and 1 older", "too_large: 1", "95.4 MiB")
	r.harmless(t)
	o.run(t, "quarantine", "list", "--reason", "encrypted").wants(t, cli.Done, "nothing is in quarantine\n")
	groups := decode[[]struct {
		Reason  string
		Count   int
		Entries []map[string]any
	}](t, o.run(t, "quarantine", "list", "--mailbox", "alice", "--output", "json").out)
	if len(groups) != 1 || groups[0].Reason != "too_large" || groups[0].Count != 1 || len(groups[0].Entries) != 1 {
		t.Errorf("got %+v", groups)
	}
	r = o.run(t, "quarantine", "show", "13")
	r.wants(t, cli.Done, "receipt 13: quarantined, untrusted", "From         Ann Customer <ann@customer.example>", "Invoice")
	r.harmless(t)
	if strings.Contains(r.out, "Please pay") {
		t.Errorf("the text is shown: %s", r.out)
	}
	o.run(t, "quarantine", "show", "14").wants(t, cli.Done, "octets kept  no")
	o.run(t, "quarantine", "show", "11").wants(t, cli.Failed, "not one receipt in quarantine")
	held := decode[map[string]any](t, o.run(t, "quarantine", "show", "13", "--output", "json").out)
	if held["reason"] != "untrusted" || held["reason_text"] == "" || len(held["header"].([]any)) == 0 {
		t.Errorf("got %+v", held)
	}
}

func TestPollNow(t *testing.T) {
	o := newOffice(t)
	o.run(t, "mailbox", "poll", "support").wants(t, cli.Done, "support is due now\n")
	var due bool
	if err := o.db.Pool().QueryRow(t.Context(), `SELECT next_at <= clock_timestamp() FROM lease WHERE target_id = 2`).Scan(&due); err != nil || !due {
		t.Errorf("got due %v, %v; want true", due, err)
	}
	for name, why := range map[string]string{"bob": `mailbox "bob" (id 4) is not polled: its mail comes by a forward mailbox`, "carol": `mailbox "carol" (id 5) is not polled: it is disabled`} {
		o.run(t, "mailbox", "poll", name).wants(t, cli.Failed, why, "hint: ")
		o.run(t, "mailbox", "poll", name, "--wait").wants(t, cli.Failed, why, "hint: ")
	}
	o.run(t, "mailbox", "poll", "nobody").wants(t, cli.Failed, "no such record")
	o.run(t, "mailbox", "poll", "alice", "--wait", "--timeout", "150ms").wants(t, cli.Failed, "did not end within 150ms", "hint: ")
	o.exec(t, `UPDATE daemon SET heartbeat_at = now() - interval '1 minute'`)
	o.run(t, "mailbox", "poll", "alice", "--wait").wants(t, cli.Failed, "no daemon is running", "postroom serve")
}

// A daemon that polls in the background answers --wait.
func TestPollAndWait(t *testing.T) {
	o := newOffice(t)
	d, err := o.db.Register(t.Context(), "here", 1, "v1", 30*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	o.exec(t, `UPDATE lease SET daemon_id = NULL, next_at = now() + interval '1 hour'`)
	pollOnce := func(t *testing.T, ctx context.Context, finish func(l mailbox.Lease) (time.Duration, error)) {
		t.Helper()
		tick := time.NewTicker(5 * time.Millisecond)
		defer tick.Stop()
		for range tick.C {
			leases, _, err := d.Claim(ctx, 1, 10)
			if err != nil {
				t.Errorf("claim: %v", err)
				return
			}
			if len(leases) == 0 {
				continue // until Claim fails with the end of ctx
			}
			next, err := finish(leases[0])
			if err == nil {
				err = d.Release(ctx, leases[0], next)
			}
			if err != nil {
				t.Errorf("poll: %v", err)
			}
			return
		}
	}
	background := func(finish func(l mailbox.Lease) (time.Duration, error)) (wait func()) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		done := make(chan struct{})
		go func() { defer close(done); pollOnce(t, ctx, finish) }()
		return func() { <-done; cancel() }
	}

	wait := background(func(l mailbox.Lease) (time.Duration, error) { return o.db.PollSucceeded(t.Context(), l) })
	r := o.run(t, "mailbox", "poll", "alice", "--wait")
	wait()
	r.wants(t, cli.Done, "alice was polled: 0 recorded, 0 duplicate, 0 ignored, 0 quarantined, 0 to be decided\n")

	wait = background(func(l mailbox.Lease) (time.Duration, error) { return o.db.PollFailed(t.Context(), l, errRefused) })
	r = o.run(t, "mailbox", "poll", "alice", "--wait", "--output", "json")
	wait()
	got := decode[map[string]any](t, r.out)
	if r.code != cli.Failed || got["ok"] != false || got["error_code"] != "login_refused" || got["error_hint"] != "mend the password" {
		t.Errorf("got %d %+v, want the failure", r.code, got)
	}
}

var errRefused = fault.New(fault.Auth, "login_refused", "mend the password", errors.New("refused"))

func TestApply(t *testing.T) {
	env := []string{"POSTROOM_DATABASE_URL=" + pgtest.URL(t)}
	apply := func(args ...string) result {
		return invoke(t, cli.Deps{}, env, "", append([]string{"apply", "-f", filepath.Join("..", "..", "configs", "example")}, args...)...)
	}
	r := apply("--dry-run")
	if r.code != cli.Done {
		t.Fatalf("the example that is shipped cannot be applied: %s", r.err)
	}
	r.wants(t, cli.Done, "nothing was changed: --dry-run")
	apply().wants(t, cli.Done, "+ mailbox")
	apply().wants(t, cli.Done, "nothing to change\n")
	got := decode[map[string]any](t, apply("--output", "json").out)
	if changes, ok := got["changes"].([]any); !ok || len(changes) != 0 {
		t.Errorf("got %+v, want no changes", got)
	}
}

func TestApplyFaultyFile(t *testing.T) {
	bad := file(t, "bad.yaml", "users:\n  - nome: x\n")
	run(t, "apply", "-f", bad).wants(t, cli.Configuration, bad+":2", "hint: ")
	r := run(t, "apply", "-f", bad, "--output", "json")
	got := decode[struct {
		OK      bool
		Changes []any
		Faults  []map[string]any
	}](t, r.out)
	if r.code != cli.Configuration || got.OK || got.Changes == nil || len(got.Faults) != 3 || got.Faults[0]["file"] != bad || got.Faults[0]["line"] != 2.0 {
		t.Errorf("got %d %+v, want the faults", r.code, got)
	}
	r = run(t, "apply", "-f", "/nonexistent", "--output", "json")
	if got := decode[map[string]any](t, r.out); r.code != cli.Configuration || len(got["faults"].([]any)) != 1 {
		t.Errorf("got %d %+v, want the fault", r.code, got)
	}
}
