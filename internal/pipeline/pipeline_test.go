package pipeline_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/postroom/postroom/internal/mailbox"
	"github.com/postroom/postroom/internal/pipeline"
	"github.com/postroom/postroom/internal/receipt"
	"github.com/postroom/postroom/internal/source"
)

func TestAMessageBecomesARecord(t *testing.T) {
	w := newWorld(t, nil)
	_, err := w.db.Pool().Exec(t.Context(), `INSERT INTO contact (name, address) VALUES ('Carla', 'Carla@Customer.example')`)
	w.ok(err)
	r, item := w.one(w.box("anna"), letter)
	if r.Outcome != receipt.Recorded || item.ActivityID == "" {
		t.Fatalf("got %+v", r)
	}
	for column, want := range map[string]string{
		"subject":     "Offer for 12 chairs",
		"message_id":  "offer-1@customer.example",
		"sent_at":     "2026-03-03 09:00:00+00",
		"sent_offset": "60",
		"sent_source": "date",
		"sent_raw":    "Tue, 3 Mar 2026 10:00:00 +0100",
		"direction":   "incoming",
		"class":       "ordinary",
		"text_body":   "Hello Anna",
		"html_body":   "<p>Hello <b>Anna</b></p>",
		"attachments": "1",
		"mailbox_id":  w.text("SELECT mailbox_id FROM mailbox WHERE kind = 'user' AND incoming = 'server_side'"),
	} {
		if got := strings.TrimSpace(w.text("SELECT "+column+" FROM activity WHERE activity_id = $1", item.ActivityID)); got != want {
			t.Errorf("%s is %q, want %q", column, got, want)
		}
	}
	if got, want := w.text("SELECT string_agg(role || ' ' || coalesce(party_type, '-'), ', ' ORDER BY ordinal) FROM party"),
		"recipient_mailbox user, owner user, from contact, to user"; got != want {
		t.Errorf("parties: %s, want %s", got, want)
	}
	if got, want := w.text("SELECT string_agg(filename || ' ' || octets || ' ' || encoding, ', ') FROM attachment"), "chairs.csv 9 base64"; got != want {
		t.Errorf("attachments: %s, want %s", got, want)
	}
	if got := w.text("SELECT count(*) FROM sighting WHERE authentication = 'direct' AND authenticated"); got != "1" {
		t.Errorf("%s sightings", got)
	}
	steps := w.text("SELECT steps FROM trace")
	for _, code := range []string{`"fetched"`, `"read"`, `"class"`, `"accepted"`} {
		if !strings.Contains(steps, code) {
			t.Errorf("the trace has no %s: %s", code, steps)
		}
	}
	for _, secret := range []string{"chairs", "Hello", "Offer"} {
		if strings.Contains(steps, secret) {
			t.Errorf("the trace tells %q: %s", secret, steps)
		}
	}
}

func TestTheAuditTellsNoSubjectAndNoAddress(t *testing.T) {
	w := newWorld(t, nil)
	w.one(w.box("anna"), letter)
	line := w.audit.String()
	for _, want := range []string{"outcome=recorded", "receipt_id=", "octets=", "uid=1", "activity_id=", "class=ordinary"} {
		if !strings.Contains(line, want) {
			t.Errorf("no %s in %s", want, line)
		}
	}
	for _, secret := range []string{"Offer", "customer.example", "anna@", "chairs"} {
		if strings.Contains(line, secret) {
			t.Errorf("the audit tells %q: %s", secret, line)
		}
	}
}

func TestWhatAForwardMailboxHolds(t *testing.T) {
	w := newWorld(t, nil)
	fwd := w.box("forwarded")
	for name, c := range map[string]struct {
		text    string
		outcome receipt.Outcome
		reason  receipt.Reason
	}{
		"a wrapper of Bo's":           {wrap("bo@example.com", passes, letter), receipt.Recorded, ""},
		"a forgery":                   {wrap("bo@example.com", "", letter), receipt.Quarantined, receipt.Untrusted},
		"results below our MX's line": {strings.Replace(wrap("bo@example.com", "", letter), "From: bo", passes+"From: bo", 1), receipt.Quarantined, receipt.Untrusted},
		"a stranger's own good name":  {wrap("eve@evil.example", strings.Replace(passes, "example.com\n", "evil.example\n", 1), strings.Replace(letter, "anna@", "bo@", 1)), receipt.Quarantined, receipt.Untrusted},
		"Anna is polled herself":      {wrap("anna@example.com", passes, letter), receipt.Quarantined, receipt.NotForwarding},
		"ordinary mail":               {letter, receipt.Quarantined, receipt.NoOriginal},
		"a list":                      {"List-Id: <news.example.net>\n" + letter, receipt.Quarantined, receipt.ListMail},
		"a bounce":                    {"From: MAILER-DAEMON@mx.example.com\nSubject: Undelivered\nContent-Type: multipart/report; report-type=delivery-status; boundary=r\n\n--r\n\ngone\n--r\nContent-Type: message/delivery-status\n\nReporting-MTA: dns; mx\n\nAction: failed\n--r--\n", receipt.Ignored, receipt.Report},
		"an out-of-office reply":      {"From: bo@example.com\nTo: fwd@example.com\nAuto-Submitted: auto-replied\nSubject: Automatic reply: x\n\naway\n", receipt.Ignored, receipt.AutoReply},
		"a wrapper that was cut":      {wrap("bo@example.com", passes, letter)[:950], receipt.Quarantined, receipt.Truncated},
	} {
		r := w.run(fwd, c.text)[0]
		if r.Outcome != c.outcome || (c.reason != "" && r.Reason != c.reason) {
			t.Errorf("%s: got %s %s, want %s %s", name, r.Outcome, r.Reason, c.outcome, c.reason)
		}
	}
	if got := w.text("SELECT m.address || ' ' || class FROM activity JOIN mailbox m USING (mailbox_id)"); got != "bo@example.com ordinary" {
		t.Errorf("the activity is %s: want Bo's, and of the original's own class", got)
	}
}

func TestWhoIsInsideCannotNameAnyRecipient(t *testing.T) {
	w := newWorld(t, nil)
	fwd := w.box("forwarded")
	fwd.Profile.Exchange = true
	toBo := strings.Replace(letter, "anna@", "bo@", 1)
	inside := "X-MS-Exchange-Organization-AuthAs: Internal\n"
	if r := w.run(fwd, wrap("colleague@example.com", inside, toBo))[0]; r.Reason != receipt.Untrusted {
		t.Errorf("a colleague's wrapper of mail to Bo: got %s %s, want it untrusted", r.Outcome, r.Reason)
	}
	if r := w.run(fwd, wrap("bo@example.com", inside, toBo))[0]; r.Outcome != receipt.Recorded {
		t.Errorf("Bo's own: got %s %s", r.Outcome, r.Reason)
	}
}

func TestOneMailToTwoPeopleIsOneActivity(t *testing.T) {
	w := newWorld(t, nil)
	fwd := w.box("forwarded")
	_, first := w.one(w.box("anna"), letter)
	results := w.run(fwd, wrap("bo@example.com", passes, letter), wrap("sales@example.com", passes, letter))
	for i, r := range results {
		if r.Outcome != receipt.Duplicate || r.Items[0].ActivityID != first.ActivityID {
			t.Errorf("copy %d: %+v", i+2, r)
		}
	}
	if got := w.text("SELECT count(*) FROM activity"); got != "1" {
		t.Errorf("%s activities", got)
	}
	if got, want := w.text("SELECT string_agg(m.address, ' ' ORDER BY m.address) FROM sighting s JOIN mailbox m USING (mailbox_id)"),
		"anna@example.com bo@example.com sales@example.com"; got != want {
		t.Errorf("seen by %s, want %s", got, want)
	}
}

// Whoever knows a message can send it again. Nothing of such a copy is shown in the genuine one's place.
func TestACopyWithOtherWordsDoesNotReplaceTheRecord(t *testing.T) {
	w := newWorld(t, nil)
	_, genuine := w.one(w.box("anna"), letter)
	more := strings.Replace(letter, "--b1--", "--b1\nContent-Type: application/pdf; name=invoice.pdf\nContent-Disposition: attachment\n\nx\n--b1--", 1)
	for name, copied := range map[string]string{
		"another HTML": strings.Replace(more, "<b>Anna</b>", "<b>Anna</b> <a href=\"https://evil.example\">our new account</a>", 1),
		"a footer":     strings.Replace(more, "</script>", "</script> Our bank account has changed", 1),
		"by a wrapper": wrap("bo@example.com", passes, strings.Replace(more, "</script>", "</script> Our bank account has changed", 1)),
	} {
		box := w.box("anna")
		if name == "by a wrapper" {
			box = w.box("forwarded")
		}
		if r, item := w.one(box, copied); r.Outcome != receipt.Duplicate && !item.Conflict || item.Upgraded {
			t.Errorf("%s: %+v", name, r)
		}
	}
	if got := w.text("SELECT version || ' ' || attachments || ' ' || text_body FROM activity WHERE activity_id = $1", genuine.ActivityID); strings.TrimSpace(got) != "1 1 Hello Anna" {
		t.Errorf("the record is now %q", got)
	}
	if r, item := w.one(w.box("anna"), more); r.Outcome != receipt.Duplicate || !item.Upgraded {
		t.Errorf("a fuller copy with the same words: %+v", r)
	}
}

func TestAReplyFindsWhatItAnswersInTheSameBatch(t *testing.T) {
	w := newWorld(t, nil)
	reply := "From: anna@example.com\nTo: carla@customer.example\nSubject: Re: Offer\nDate: Tue, 3 Mar 2026 11:00:00 +0100\n" +
		"Message-ID: <re-1@example.com>\nIn-Reply-To: <offer-1@customer.example>\n\nThank you\n"
	results := w.run(w.box("anna"), reply, letter)
	got := w.text("SELECT parent_activity_id::text || ' ' || correlation FROM activity WHERE activity_id = $1", results[0].Items[0].ActivityID)
	if want := results[1].Items[0].ActivityID + " in_reply_to"; got != want {
		t.Errorf("the reply answers %q, want %q", got, want)
	}
}

func TestSeveralOriginalsInOneWrapper(t *testing.T) {
	w := newWorld(t, nil)
	second := strings.ReplaceAll(strings.ReplaceAll(letter, "offer-1", "offer-2"), "b1", "b2")
	both := strings.Replace(wrap("bo@example.com", passes, letter), "\n--outer--", "\n--outer\nContent-Type: message/rfc822\n\n"+second+"\n--outer--", 1)
	r := w.run(w.box("forwarded"), both)[0]
	if r.Outcome != receipt.Recorded || len(r.Items) != 2 || r.Items[0].ActivityID == r.Items[1].ActivityID {
		t.Errorf("got %+v", r)
	}
	if got := w.text("SELECT count(*) FROM raw"); got != "1" {
		t.Errorf("%s raws: the originals are spans of the wrapper's octets", got)
	}
}

func TestAWrapperOfTooManyPartsIsNotCut(t *testing.T) {
	w := newWorld(t, nil)
	many := strings.Replace(wrap("bo@example.com", passes, letter), "\n--outer--", strings.Repeat("\n--outer\nContent-Type: message/rfc822\n\nFrom: a@b.example\nSubject: x\n\ny", 2100)+"\n--outer--", 1)
	r := w.run(w.box("forwarded"), many)[0]
	if r.Outcome != receipt.Quarantined || r.Reason != receipt.TooManyParts {
		t.Errorf("got %s %s with %d items", r.Outcome, r.Reason, len(r.Items))
	}
}

func TestAStageThatPanicsCostsItsMessageATry(t *testing.T) {
	w := newWorld(t, nil)
	fwd := w.box("forwarded")
	b := w.batch(fwd, w.arrival(letter), w.arrival(wrap("bo@example.com", passes, letter)))
	b.Registry = nil // attribute falls over it: only the wrapper comes so far
	results, err := w.pipeline.Run(t.Context(), b)
	w.ok(err)
	if results[0].Outcome != receipt.Quarantined || results[1].Outcome != "" {
		t.Fatalf("got %+v", results)
	}
	if got := w.text("SELECT state || ' ' || tries FROM receipt WHERE receipt_id = $1", results[1].ReceiptID); got != "stored 1" {
		t.Errorf("the receipt is %q", got)
	}
	if steps := w.text("SELECT steps FROM trace WHERE receipt_id = $1", results[1].ReceiptID); !strings.Contains(steps, `"stage": "attribute"`) {
		t.Errorf("the trace does not say which stage it was: %s", steps)
	}
	again := b.Arrivals[1]
	again.ReceiptID, again.Tries = results[1].ReceiptID, 1
	b.Arrivals = []pipeline.Arrival{again}
	results, err = w.pipeline.Run(t.Context(), b)
	w.ok(err)
	if results[0].Outcome != receipt.Quarantined || results[0].Reason != receipt.Unreadable {
		t.Errorf("after the last try: %+v", results[0])
	}
	if got := w.text("SELECT count(*) FROM receipt WHERE raw_id IS NOT NULL"); got != "2" {
		t.Errorf("octets of %s messages are kept, want 2", got)
	}
}

func TestAFullSpoolIsNoFaultOfAMessage(t *testing.T) {
	w := newWorld(t, func(o *pipeline.Options) { o.SpoolDir = "/nowhere/at/all" })
	large := strings.Replace(letter, "Y2hhaXIsMTIK", strings.Repeat(strings.Repeat("QUJD", 19)+"\n", 20_000), 1)
	encoded := base64.StdEncoding.EncodeToString([]byte(strings.ReplaceAll(large, "\n", "\r\n")))
	var lines strings.Builder
	for chunk := range slices.Chunk([]byte(encoded), 76) {
		lines.Write(chunk)
		lines.WriteByte('\n')
	}
	wrapper := strings.Replace(wrap("bo@example.com", passes, lines.String()), "message/rfc822\n", "message/rfc822\nContent-Transfer-Encoding: base64\n", 1)
	b := w.batch(w.box("forwarded"), w.arrival(wrapper))
	for range 4 { // more often than Tries
		results, err := w.pipeline.Run(t.Context(), b)
		w.ok(err)
		if results[0].Outcome != "" {
			t.Fatalf("got %+v, want that it is decided later", results[0])
		}
		b.Arrivals[0].ReceiptID = results[0].ReceiptID
	}
	if got := w.text("SELECT state || ' ' || tries || ' ' || (next_try_at > now()) FROM receipt"); got != "stored 0 true" {
		t.Errorf("the receipt is %q", got)
	}
}

func TestAStoredMessageIsRecordedWhenItsDecisionWorks(t *testing.T) {
	w := newWorld(t, nil)
	b := w.batch(w.box("forwarded"), w.arrival(wrap("bo@example.com", passes, letter)))
	registry := b.Registry
	b.Registry = nil
	results, err := w.pipeline.Run(t.Context(), b)
	w.ok(err)
	b.Registry = registry
	b.Arrivals[0].ReceiptID, b.Arrivals[0].Tries = results[0].ReceiptID, 1
	results, err = w.pipeline.Run(t.Context(), b)
	w.ok(err)
	if results[0].Outcome != receipt.Recorded {
		t.Errorf("got %+v", results[0])
	}
	if got := w.text("SELECT count(*) FROM receipt"); got != "1" {
		t.Errorf("%s receipts", got)
	}
}

func TestWithoutTheDirectoryMailIsRecordedUnresolved(t *testing.T) {
	w := newWorld(t, func(o *pipeline.Options) { o.Resolver = noDirectory{errors.New("relation does not exist")} })
	r, _ := w.one(w.box("anna"), letter)
	if r.Outcome != receipt.Recorded {
		t.Fatalf("got %+v", r)
	}
	if got := w.text("SELECT count(*) FROM party WHERE resolved_at IS NULL"); got == "0" {
		t.Error("every party counts as resolved")
	}
	if !strings.Contains(w.text("SELECT steps FROM trace"), `"unresolved"`) {
		t.Error("the trace does not say so")
	}
}

// badRow is a Writer that PostgreSQL's refusal of one message's row is played by.
type badRow struct {
	pipeline.Writer
	subject string
}

func (w badRow) Write(ctx context.Context, l mailbox.Lease, b *receipt.Batch) ([]receipt.Result, error) {
	for _, r := range b.Receipts {
		for _, it := range r.Items {
			if it.Activity != nil && it.Activity.Subject == w.subject {
				return nil, &pgconn.PgError{Code: "22P05", Message: "refused"}
			}
		}
	}
	return w.Writer.Write(ctx, l, b)
}

func TestOneBadRowGoesToQuarantineAlone(t *testing.T) {
	w := newWorld(t, func(o *pipeline.Options) { o.Writer = badRow{o.Writer, "bad"} })
	b := w.batch(w.box("anna"), w.arrival(letter), w.arrival("Subject: bad\n\nx"), w.arrival("Subject: good\n\ny"))
	b.Cursor = &receipt.Cursor{UIDValidity: 1, UIDNext: 4, Messages: 3, StartUIDNext: 4}
	results, err := w.pipeline.Run(t.Context(), b)
	w.ok(err)
	var got []string
	for _, r := range results {
		got = append(got, string(r.Outcome)+" "+string(r.Reason))
	}
	if want := "recorded , quarantined unrecordable, recorded "; strings.Join(got, ", ") != want {
		t.Errorf("got %s, want %s", strings.Join(got, ", "), want)
	}
	if got := w.text("SELECT uid_next FROM folder_cursor WHERE folder_id = $1", b.FolderID); got != "4" {
		t.Errorf("the cursor stands at %s, want 4", got)
	}
	if got := w.text("SELECT count(*) FROM receipt WHERE raw_id IS NOT NULL"); got != "3" {
		t.Errorf("octets of %s messages are kept, want 3", got)
	}
}

func TestALargeMessageIsLoadedAheadAndComesBackTheSame(t *testing.T) {
	w := newWorld(t, nil)
	text := strings.Replace(letter, "Y2hhaXIsMTIK", strings.Repeat(strings.Repeat("QUJD", 19)+"\n", 60_000), 1)
	a := w.arrival(text)
	want := bytes.Clone(a.Raw.Bytes())
	results, err := w.pipeline.Run(t.Context(), w.batch(w.box("anna"), a))
	w.ok(err)
	if results[0].Outcome != receipt.Recorded {
		t.Fatalf("got %+v", results[0])
	}
	var id int64
	w.ok(w.db.Pool().QueryRow(t.Context(), `SELECT raw_id FROM activity`).Scan(&id))
	r, err := w.raws.Open(t.Context(), id, 0, int64(len(want)))
	w.ok(err)
	got, err := io.ReadAll(r)
	w.ok(errors.Join(err, r.Close()))
	if !bytes.Equal(got, want) {
		t.Errorf("%d octets came back different from %d", len(got), len(want))
	}
	if got := w.text("SELECT string_agg(state, ' ') FROM raw"); got != "stored" {
		t.Errorf("raws are %q", got)
	}
}

func TestWhatCannotBeHadIsAccountedFor(t *testing.T) {
	w := newWorld(t, nil)
	m := w.box("anna")
	m.Disposition, m.MoveTo, m.Undeliverable = mailbox.Move, "Done", "Lost"
	header := w.arrival("Subject: huge\n\n")
	header.HeaderOnly, header.Reason = true, receipt.TooLarge
	gone, broken, old := w.arrival("x"), w.arrival("x"), w.arrival("x")
	gone.Raw, gone.Reason = nil, receipt.Vanished
	broken.Raw, broken.Reason = nil, receipt.Undeliverable
	old.Raw, old.Ref.UIDValidity, old.Ref.UID, old.Ref.UniqueID, old.Baseline = nil, 0, 0, "u1", true
	results, err := w.pipeline.Run(t.Context(), w.batch(m, header, gone, broken, old))
	w.ok(err)
	for i, want := range []receipt.Result{
		{Outcome: receipt.Quarantined, Reason: receipt.TooLarge},
		{Outcome: receipt.Ignored, Reason: receipt.Vanished},
		{Outcome: receipt.Quarantined, Reason: receipt.Undeliverable},
		{},
	} {
		if results[i].Outcome != want.Outcome || results[i].Reason != want.Reason {
			t.Errorf("message %d: got %s %s, want %s %s", i+1, results[i].Outcome, results[i].Reason, want.Outcome, want.Reason)
		}
	}
	if got := w.text("SELECT count(*) FROM receipt WHERE disposition IS NOT NULL"); got != "0" {
		t.Errorf("%s of them are to be disposed of, though their octets are not ours", got)
	}
	if got := w.text("SELECT string_agg(state, ' ' ORDER BY receipt_id) FROM receipt"); got != "finished finished finished baseline" {
		t.Errorf("states: %s", got)
	}
}

func TestWhatAMailboxDoesNotAcceptIsIgnored(t *testing.T) {
	w := newWorld(t, nil)
	m := w.box("anna")
	m.Accept = mailbox.AcceptNone
	r, _ := w.one(m, letter)
	if r.Outcome != receipt.Ignored || r.Reason != receipt.NotAccepted {
		t.Errorf("got %+v", r)
	}
	if got := w.text("SELECT count(*) FROM activity"); got != "0" {
		t.Errorf("%s activities", got)
	}
}

func TestNoMessageIsRefused(t *testing.T) {
	w := newWorld(t, nil)
	for _, text := range []string{"", "\x00\xff\xfe", "no header at all", strings.Repeat("To: a@b.example\n", 4000) + "\nx", "Subject: a\x00b\n\n\x00"} {
		if r := w.run(w.box("anna"), text)[0]; r.Outcome != receipt.Recorded && r.Outcome != receipt.Duplicate {
			t.Errorf("%.20q: got %+v", text, r)
		}
	}
}

func TestNothingIsDisposedOfThatAMailboxLeaves(t *testing.T) {
	w := newWorld(t, nil)
	m := w.box("forwarded")
	m.Disposition, m.DeleteAfter = mailbox.Delete, 0
	w.run(m, wrap("bo@example.com", passes, letter), wrap("bo@example.com", "", letter))
	if got := w.text("SELECT string_agg(outcome || ' ' || coalesce(disposition, 'stays'), ', ' ORDER BY receipt_id) FROM receipt"); got != "recorded due, quarantined stays" {
		t.Errorf("got %s", got)
	}
}

func TestWhatWasLoadedForNothingIsRemoved(t *testing.T) {
	w := newWorld(t, nil)
	large := w.arrival(strings.Replace(letter, "Y2hhaXIsMTIK", strings.Repeat(strings.Repeat("QUJD", 19)+"\n", 20_000), 1))
	b := w.batch(w.box("anna"), large)
	b.Lease.Token++ // another daemon has the mailbox
	if _, err := w.pipeline.Run(t.Context(), b); !errors.Is(err, mailbox.ErrLeaseLost) {
		t.Fatalf("got %v, want that the lease is lost", err)
	}
	if got := w.text("SELECT count(*) FROM raw"); got != "0" {
		t.Errorf("%s raws are left", got)
	}
	b.Lease.Token--
	for range 2 { // the second time its receipt is there
		_, err := w.pipeline.Run(t.Context(), b)
		w.ok(err)
	}
	if got := w.text("SELECT string_agg(state, ' ') FROM raw"); got != "stored" {
		t.Errorf("raws are %q, want one stored", got)
	}
}

func TestAFailedLoadWritesNothing(t *testing.T) {
	w := newWorld(t, nil)
	a := w.arrival(letter)
	a.Raw = source.RawOf(bytes.Repeat([]byte("x"), source.MemoryOctets+1))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := w.pipeline.Run(ctx, w.batch(w.box("anna"), a)); err == nil {
		t.Error("no error")
	}
	if got := w.text("SELECT count(*) FROM receipt"); got != "0" {
		t.Errorf("%s receipts", got)
	}
}
