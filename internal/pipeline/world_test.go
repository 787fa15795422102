package pipeline_test

import (
	"bytes"
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/postroom/postroom/internal/activity"
	"github.com/postroom/postroom/internal/apply"
	"github.com/postroom/postroom/internal/mailbox"
	"github.com/postroom/postroom/internal/pgtest"
	"github.com/postroom/postroom/internal/pipeline"
	"github.com/postroom/postroom/internal/raw"
	"github.com/postroom/postroom/internal/receipt"
	"github.com/postroom/postroom/internal/source"
	"github.com/postroom/postroom/internal/store"
)

const organisation = `
profiles:
  - {name: office, protocol: imap, host: imap.example.com, authserv_id: mx.example.com, mx_hosts: [mx.example.com]}
users:
  - name: Anna
    address: anna@example.com
    mailbox: {profile: office, username: anna, password_file: /secret/anna, start: all}
  - name: Bo
    address: bo@example.com
    mailbox: {incoming: forward_mailbox}
queues:
  - name: Sales
    address: sales@example.com
    owner: Anna
    mailbox: {incoming: forward_mailbox}
mailboxes:
  - {name: Forwarded, kind: forward, address: fwd@example.com, profile: office, username: fwd, password_file: /secret/fwd, start: all}
`

// world is an organisation in a database of its own, and a pipeline that writes to it.
type world struct {
	t        *testing.T
	db       *store.DB
	raws     *raw.Store
	boxes    map[string]*mailbox.Mailbox
	leases   map[int64]mailbox.Lease
	registry *mailbox.Registry
	audit    bytes.Buffer
	uid      uint32
	pipeline *pipeline.Pipeline
}

func newWorld(t *testing.T, change func(*pipeline.Options)) *world {
	t.Helper()
	w := &world{t: t, db: pgtest.New(t), boxes: map[string]*mailbox.Mailbox{}, leases: map[int64]mailbox.Lease{}}
	file := filepath.Join(t.TempDir(), "organisation.yaml")
	w.ok(os.WriteFile(file, []byte(organisation), 0o600))
	desired, err := apply.Load([]string{file})
	w.ok(err)
	plan, err := apply.NewPlan(t.Context(), w.db, desired)
	w.ok(err)
	w.ok(apply.Execute(t.Context(), w.db, plan))
	boxes, err := w.db.Mailboxes(t.Context())
	w.ok(err)
	for _, m := range boxes {
		w.boxes[m.Name] = m
	}
	w.registry = mailbox.NewRegistry(boxes)
	daemon, err := w.db.Register(t.Context(), "test", 1, "test", time.Hour)
	w.ok(err)
	leases, _, err := daemon.Claim(t.Context(), 10, 10)
	w.ok(err)
	for _, l := range leases {
		w.leases[l.MailboxID] = l
	}
	w.raws = raw.New(w.db.Pool())
	parties, err := w.db.PartyDirectory("party_directory", time.Minute)
	w.ok(err)
	o := pipeline.Options{
		Writer: w.db.Writer(w.raws), Loader: w.raws, Resolver: parties, Isolates: store.IsolatesBadRow,
		Log: slog.New(slog.DiscardHandler), Audit: slog.New(slog.NewTextHandler(&w.audit, nil)), Tries: 2,
	}
	if change != nil {
		change(&o)
	}
	w.pipeline = pipeline.New(o)
	return w
}

func (w *world) ok(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

// box returns a mailbox whose name begins so.
func (w *world) box(name string) *mailbox.Mailbox {
	w.t.Helper()
	for n, m := range w.boxes {
		if strings.HasPrefix(strings.ToLower(n), name) {
			return m
		}
	}
	w.t.Fatalf("no mailbox %q in %v", name, w.boxes)
	return nil
}

// arrival is a message with the next UID. Lines end in \n for convenience.
func (w *world) arrival(text string) pipeline.Arrival {
	w.uid++
	octets := []byte(strings.ReplaceAll(text, "\n", "\r\n"))
	return pipeline.Arrival{
		Ref:    source.Ref{Folder: "INBOX", UIDValidity: 1, UID: w.uid, Octets: int64(len(octets))},
		SeenAt: time.Now(), Raw: source.RawOf(octets),
	}
}

func (w *world) batch(m *mailbox.Mailbox, arrivals ...pipeline.Arrival) pipeline.Batch {
	w.t.Helper()
	cursors, err := w.db.Cursors(w.t.Context(), m)
	w.ok(err)
	return pipeline.Batch{Lease: w.leases[m.ID], Mailbox: m, Registry: w.registry, FolderID: cursors[0].FolderID, Arrivals: arrivals}
}

// run has messages decided and written in one batch.
func (w *world) run(m *mailbox.Mailbox, messages ...string) []receipt.Result {
	w.t.Helper()
	arrivals := make([]pipeline.Arrival, len(messages))
	for i, text := range messages {
		arrivals[i] = w.arrival(text)
	}
	results, err := w.pipeline.Run(w.t.Context(), w.batch(m, arrivals...))
	w.ok(err)
	if len(results) != len(messages) {
		w.t.Fatalf("%d results for %d messages", len(results), len(messages))
	}
	return results
}

// one runs one message that has one item, and returns what became of both.
func (w *world) one(m *mailbox.Mailbox, text string) (receipt.Result, receipt.ItemResult) {
	w.t.Helper()
	r := w.run(m, text)[0]
	if len(r.Items) != 1 {
		w.t.Fatalf("%s %s with %d items, want one", r.Outcome, r.Reason, len(r.Items))
	}
	return r, r.Items[0]
}

// text returns one value of the database as text, "" for null.
func (w *world) text(sql string, args ...any) string {
	w.t.Helper()
	var s *string
	w.ok(w.db.Pool().QueryRow(w.t.Context(), "SELECT ("+sql+")::text", args...).Scan(&s))
	if s == nil {
		return ""
	}
	return *s
}

// noDirectory is a party directory that cannot be asked.
type noDirectory struct{ err error }

func (d noDirectory) ResolveParties(context.Context, []string) (map[string][]activity.Party, error) {
	return nil, d.err
}

const letter = `From: Carla Customer <carla@customer.example>
To: anna@example.com
Subject: Offer for 12 chairs
Date: Tue, 3 Mar 2026 10:00:00 +0100
Message-ID: <offer-1@customer.example>
MIME-Version: 1.0
Content-Type: multipart/mixed; boundary=b1

--b1
Content-Type: text/html; charset=utf-8

<p onclick="steal()">Hello <b>Anna</b><script>alert(1)</script></p>
--b1
Content-Type: text/csv; name=chairs.csv
Content-Disposition: attachment; filename=chairs.csv
Content-Transfer-Encoding: base64

Y2hhaXIsMTIK
--b1--
`

// wrap puts an original into what Exchange's rule makes of it, authenticated by our own MX if results say so.
func wrap(from, results, original string) string {
	return `Delivered-To: fwd@example.com
` + results + `Received: from out.example.com by mx.example.com with ESMTPS; Tue, 3 Mar 2026 10:01:00 +0100
From: ` + from + `
To: fwd@example.com
Subject: FW: something
Date: Tue, 3 Mar 2026 10:01:00 +0100
Message-ID: <wrapper-` + from + `>
X-MS-Exchange-Inbox-Rules-Loop: ` + from + `
MIME-Version: 1.0
Content-Type: multipart/mixed; boundary=outer

--outer
Content-Type: text/plain


--outer
Content-Type: message/rfc822

` + original + `
--outer--
`
}

const passes = "Authentication-Results: mx.example.com; dmarc=pass header.from=example.com\n"
