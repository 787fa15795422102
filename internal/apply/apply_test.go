package apply_test

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/postroom/postroom/internal/apply"
	"github.com/postroom/postroom/internal/fault"
	"github.com/postroom/postroom/internal/mailbox"
	"github.com/postroom/postroom/internal/pgtest"
	"github.com/postroom/postroom/internal/store"
)

func write(t *testing.T, name, text string) string {
	t.Helper()
	if !filepath.IsAbs(name) {
		name = filepath.Join(t.TempDir(), name)
	}
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

func load(t *testing.T, text string) *apply.Desired {
	t.Helper()
	d, err := apply.Load([]string{write(t, "records.yaml", text)})
	if err != nil {
		t.Fatalf("load: %v", err)
	}
	return d
}

func plan(t *testing.T, db *store.DB, d *apply.Desired) *apply.Plan {
	t.Helper()
	p, err := apply.NewPlan(t.Context(), db, d)
	if err != nil {
		t.Fatalf("plan: %v", err)
	}
	return p
}

// applied loads and executes text and returns what was printed.
func applied(t *testing.T, db *store.DB, text string) string {
	t.Helper()
	p := plan(t, db, load(t, text))
	var out bytes.Buffer
	if err := p.Print(&out); err != nil {
		t.Fatal(err)
	}
	if err := apply.Execute(t.Context(), db, p); err != nil {
		t.Fatalf("execute: %v", err)
	}
	return out.String()
}

func box(t *testing.T, db *store.DB, name string) *mailbox.Mailbox {
	t.Helper()
	m, err := db.Mailbox(t.Context(), name)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func TestExampleIsAppliedTwice(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	d, err := apply.Load([]string{"../../configs/example"})
	if err != nil {
		t.Fatalf("load the example: %v", err)
	}
	p := plan(t, db, d)
	if err := apply.Execute(t.Context(), db, p); err != nil {
		t.Fatalf("execute: %v", err)
	}
	again := plan(t, db, d)
	var out bytes.Buffer
	if err := again.Print(&out); err != nil || out.String() != "nothing to change\n" || !again.Empty() {
		t.Errorf("second time: got %q, %v, want nothing to change", out.String(), err)
	}
	all, err := db.Mailboxes(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]string{}
	for _, m := range all {
		profile := ""
		if m.Profile != nil {
			profile = m.Profile.Name
		}
		got[m.Name] = fmt.Sprintf("%s %s %s %s %s %v", m.Kind, m.Incoming, profile, m.SecretRef, m.Disposition, m.Enabled)
	}
	want := map[string]string{
		"Anna Ask":       "user server_side office file:/etc/postroom/secrets/anna leave true",
		"Bo Berg":        "user forward_mailbox   leave true",
		"Cleo Carr":      "user forward_mailbox   leave true",
		"Support":        "queue server_side provider credential:support delete true",
		"Sales":          "queue forward_mailbox   leave true",
		"Forwarded mail": "forward server_side office file:/etc/postroom/secrets/forward move true",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("mailboxes (-want +got):\n%s", diff)
	}
	if m := box(t, db, "Support"); m.OwnerID != box(t, db, "Anna Ask").OwnerID || m.Profile.Port != 110 || m.Priority != 5 {
		t.Errorf("Support: got owner %s, port %d, priority %d", m.OwnerID, m.Profile.Port, m.Priority)
	}
	if m := box(t, db, "Forwarded mail"); m.OwnerID != "" || m.EnabledAt.IsZero() {
		t.Errorf("forward mailbox: got owner %q, enabled at %s, want none and a time", m.OwnerID, m.EnabledAt)
	}
	// What is polled is due at once.
	d1, err := db.Register(t.Context(), "h", 1, "test", time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	if leases, _, err := d1.Claim(t.Context(), 10, 10); err != nil || len(leases) != 3 {
		t.Errorf("got %d due mailboxes, %v, want 3", len(leases), err)
	}
}

const base = `
profiles:
  - {name: p, protocol: imap, host: imap.example.com}
users:
  - name: Anna
    address: anna@example.com
    mailbox: {profile: p, username: anna, password_file: /secrets/anna}
`

func TestPlanShowsDifferences(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	got := applied(t, db, base)
	want := `+ profile "p"
    protocol  imap
    host      imap.example.com
+ user "Anna"
    address  anna@example.com
+ mailbox "Anna"
    kind      user
    address   anna@example.com
    incoming  server_side
    profile   p
    username  anna
    password  file:/secrets/anna
3 to create, 0 to update
`
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("first plan (-want +got):\n%s", diff)
	}
	got = applied(t, db, `
profiles:
  - {name: p, protocol: imap, host: imap2.example.com, max_octets: 25MiB, tls: plaintext}
users:
  - name: Anna
    address: anna@example.com
    mailbox: {profile: p, username: anna, password_credential: anna, poll_interval: 5m, start: 2026-01-31, aliases: [a@example.com]}
`)
	want = `~ profile "p"
    host        imap.example.com → imap2.example.com
    port        993 → 143
    tls         implicit → plaintext
    max_octets  50MiB → 25MiB
    ! tls: plaintext shows passwords and mail to everyone on the way
~ mailbox "Anna"
    aliases        (none) → a@example.com
    password       file:/secrets/anna → credential:anna
    start          now → 2026-01-31
    poll_interval  1m → 5m
    ! start counts for folders that were never listed; the others go on where they are
0 to create, 2 to update
`
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("second plan (-want +got):\n%s", diff)
	}
	if got := applied(t, db, base); !strings.Contains(got, "0 to create, 2 to update") {
		t.Errorf("a key that is left out means its default: got %s", got)
	}
}

func TestDryRunChangesNothing(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	if p := plan(t, db, load(t, base)); p.Empty() {
		t.Fatal("got an empty plan")
	}
	if all, err := db.Mailboxes(t.Context()); err != nil || len(all) != 0 {
		t.Errorf("got %v, %v, want no mailbox", all, err)
	}
}

func TestOutdatedPlanIsRefused(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	p := plan(t, db, load(t, base))
	applied(t, db, base)
	err := apply.Execute(t.Context(), db, p)
	if _, code, _, _ := fault.Describe(err); !errors.Is(err, apply.ErrOutdated) || code != "plan_outdated" {
		t.Errorf("got %v, want ErrOutdated", err)
	}
}

func TestWhatFilesDoNotSayStays(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	token := "abcdefghij0123456789abcdef"
	file := write(t, "token", token+"\n")
	applied(t, db, fmt.Sprintf(`
users:
  - {name: Anna, address: anna@example.com, mailbox: {incoming: forward_mailbox, plus_token_file: %s, enabled: false}}
  - {name: Bo, address: bo@example.com}
`, file))
	want := sha256.Sum256([]byte(token))
	if m := box(t, db, "Anna"); !bytes.Equal(m.PlusTokenDigest, want[:]) || m.Enabled || !m.EnabledAt.IsZero() {
		t.Errorf("got token %x, enabled %v, want its sha256 and false", m.PlusTokenDigest, m.Enabled)
	}
	out := applied(t, db, `users: [{name: Anna, address: anna@example.com, mailbox: {incoming: forward_mailbox, accept: none}}]`)
	if m := box(t, db, "Anna"); !bytes.Equal(m.PlusTokenDigest, want[:]) || m.Enabled || m.Accept != mailbox.AcceptNone {
		t.Errorf("got token %x, enabled %v, accept %s, want token and enabled as they were", m.PlusTokenDigest, m.Enabled, m.Accept)
	}
	if strings.Contains(out, token) || !strings.Contains(out, "0 to create, 1 to update") {
		t.Errorf("got plan %s, want one update without the token", out)
	}
	r, err := db.Records(t.Context())
	if err != nil || len(r.Users) != 2 {
		t.Errorf("got users %v, %v, want Bo left alone", r.Users, err)
	}
	applied(t, db, `users: [{name: Anna, address: anna@example.com, mailbox: {incoming: forward_mailbox, enabled: true}}]`)
	if m := box(t, db, "Anna"); !m.Enabled || m.EnabledAt.IsZero() {
		t.Errorf("got enabled %v at %s, want it to be", m.Enabled, m.EnabledAt)
	}
}

func TestClaimsAreExchangedInOneGo(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	const text = `
profiles: [{name: p, protocol: pop3, host: pop.example.com}]
queues:
  - {name: A, address: %s@example.com, mailbox: {profile: p, username: %s, password_file: /a}}
  - {name: B, address: %s@example.com, mailbox: {profile: p, username: %s, password_file: /b}}
`
	applied(t, db, fmt.Sprintf(text, "one", "u1", "two", "u2"))
	applied(t, db, fmt.Sprintf(text, "two", "u2", "one", "u1"))
	if a, b := box(t, db, "A"), box(t, db, "B"); a.Address != "two@example.com" || a.Username != "u2" || b.Address != "one@example.com" {
		t.Errorf("got A %s %s, B %s %s, want them exchanged", a.Address, a.Username, b.Address, b.Username)
	}
	var folders string
	err := db.Pool().QueryRow(t.Context(), `SELECT string_agg(account || ' ' || mailbox_id, ',' ORDER BY account) FROM watched_folder`).Scan(&folders)
	if want := "pop.example.com/u1 2,pop.example.com/u2 1"; err != nil || folders != want {
		t.Errorf("watched: got %q, %v, want %q", folders, err, want)
	}
}

func TestAnotherHostMovesEveryMailboxOfTheProfile(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	applied(t, db, base)
	d, err := db.Register(t.Context(), "h", 1, "test", time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	leases, _, err := d.Claim(t.Context(), 1, 1)
	if err != nil || len(leases) != 1 {
		t.Fatalf("claim: got %v, %v", leases, err)
	}
	applied(t, db, `profiles: [{name: p, protocol: imap, host: new.example.com}]`)
	var account string
	if err := db.Pool().QueryRow(t.Context(), `SELECT account FROM watched_folder`).Scan(&account); err != nil || account != "new.example.com/anna" {
		t.Errorf("watched account: got %q, %v, want that of the new host", account, err)
	}
	if _, err := db.PollSucceeded(t.Context(), leases[0]); !errors.Is(err, mailbox.ErrLeaseLost) {
		t.Errorf("the poll of the old host goes on: got %v, want ErrLeaseLost", err)
	}
}

func TestExecuteIsAllOrNothing(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	if _, err := db.Pool().Exec(t.Context(), `
		CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'no' USING ERRCODE = '23514'; END $$;
		CREATE CONSTRAINT TRIGGER refuse AFTER INSERT ON mailbox DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION refuse()`); err != nil {
		t.Fatal(err)
	}
	if err := apply.Execute(t.Context(), db, plan(t, db, load(t, base))); err == nil {
		t.Error("a refused commit was not reported")
	}
	r, err := db.Records(t.Context())
	if err != nil || len(r.Users)+len(r.Profiles)+len(r.Mailboxes) != 0 {
		t.Errorf("got %+v, %v, want nothing", r, err)
	}
}

func TestPlanRefusesWhatTheDatabaseHas(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	applied(t, db, base)
	tests := []struct{ name, text, want string }{
		{
			"folder", `
queues: [{name: Q, address: q@example.com, mailbox: {profile: p, username: ANNA, password_file: /q}}]`,
			`queues[0].mailbox.username: INBOX of imap.example.com/anna already belongs to mailbox "Anna" of the database`,
		},
		{
			"address", `
queues:
  - {name: Q, address: q@example.com, mailbox: {incoming: none, aliases: [ANNA@example.com]}}`,
			`queues[0].mailbox.aliases: anna@example.com already belongs to mailbox "Anna" of the database`,
		},
		{
			"name", `
mailboxes: [{name: Anna, kind: forward, address: f@example.com, incoming: none}]`,
			`mailboxes[0].name: the name "Anna" already belongs to a user mailbox`,
		},
		{
			"profile", `
queues: [{name: Q, address: q@example.com, mailbox: {profile: nowhere, username: q, password_file: /q}}]`,
			`queues[0].mailbox.profile: there is no profile "nowhere"; add the profile`,
		},
		{"owner", `
queues: [{name: Q, address: q@example.com, owner: Nobody}]`, `queues[0].owner: there is no user "Nobody"`},
		{"user", `
mailboxes: [{name: X, user: Nobody, address: f@example.com, incoming: none}]`, `mailboxes[0].user: there is no user "Nobody"`},
	}
	for _, tt := range tests {
		_, err := apply.NewPlan(t.Context(), db, load(t, tt.text))
		if err == nil || !strings.Contains(err.Error(), tt.want) || !strings.Contains(err.Error(), "records.yaml:") {
			t.Errorf("%s: got %v, want %q", tt.name, err, tt.want)
		}
	}
}
