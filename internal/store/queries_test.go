package store_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/postroom/postroom/internal/fault"
	"github.com/postroom/postroom/internal/pgtest"
	"github.com/postroom/postroom/internal/raw"
	"github.com/postroom/postroom/internal/source"
	"github.com/postroom/postroom/internal/store"
)

const silence = 30 * time.Second // after which a daemon is stale

// office returns a database with the records and mail of testdata/office.sql.
func office(t *testing.T) *store.DB {
	t.Helper()
	db := pgtest.New(t)
	letter, err := os.ReadFile(filepath.Join("testdata", "letter.eml"))
	if err != nil {
		t.Fatal(err)
	}
	sql, err := os.ReadFile(filepath.Join("testdata", "office.sql"))
	if err != nil {
		t.Fatal(err)
	}
	err = db.InTx(t.Context(), pgx.TxOptions{}, func(ctx context.Context, tx pgx.Tx) error {
		if _, err := raw.New(db.Pool()).Put(ctx, tx, []*source.Raw{source.RawOf(letter)}); err != nil {
			return err
		}
		_, err := tx.Conn().PgConn().Exec(ctx, string(sql)).ReadAll()
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return db
}

func TestMailboxViews(t *testing.T) {
	views, err := office(t).MailboxViews(t.Context(), silence)
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]store.MailboxView{}
	var order []string
	for _, v := range views {
		got[v.Name] = v
		order = append(order, v.Name)
	}
	if want := []string{"support", "alice", "bob", "carol", "central"}; !cmp.Equal(order, want) {
		t.Errorf("got order %v, want %v: the most behind first", order, want)
	}
	for name, want := range map[string]store.MailboxMood{
		"alice": store.MoodOK, "support": store.MoodFailing, "central": store.MoodNew, "bob": store.MoodPassive, "carol": store.MoodDisabled,
	} {
		if got[name].State != want {
			t.Errorf("%s: got %q, want %q", name, got[name].State, want)
		}
	}
	s := got["support"]
	if s.ErrorClass != "auth" || s.ErrorCode != "login_refused" || s.ErrorHint == "" || s.Failures != 4 || s.ErrorSince == nil {
		t.Errorf("support: got error %+v, want its class, code, hint, failures and since", s)
	}
	if late := time.Duration(s.BehindSeconds) * time.Second; late < 2*time.Hour || late > 3*time.Hour {
		t.Errorf("support: got %v behind, want 3 hours less the poll interval", late)
	}
	if s.Polling || !got["central"].Polling {
		t.Errorf("polling: got support %v, central %v; want only central: the daemon of the other is stale", s.Polling, got["central"].Polling)
	}
	if got["central"].Trust != "warn" || got["alice"].Trust != "" {
		t.Errorf("trust: got %q and %q, want warn for the forward mailbox only", got["central"].Trust, got["alice"].Trust)
	}
	if got["carol"].BehindSeconds != 0 || got["bob"].BehindSeconds != 0 || got["bob"].NextPollAt != nil {
		t.Errorf("what is not polled is not behind: got %+v, %+v", got["carol"], got["bob"])
	}
	if zone := got["alice"].LastPollAt.Location(); zone != time.UTC {
		t.Errorf("got instants in %v, want UTC", zone)
	}
}

func TestFoldersAndTallies(t *testing.T) {
	db := office(t)
	folders, err := db.Folders(t.Context(), 1)
	if err != nil || len(folders) != 1 || folders[0].Name != "INBOX" || *folders[0].UIDNext != 6 || folders[0].Missed != 2 {
		t.Errorf("got folders %+v, %v; want INBOX with next UID 6 and 2 missed", folders, err)
	}
	for _, tt := range []struct {
		mailbox int64
		since   time.Time
		want    store.Tally
	}{
		{1, time.Time{}, store.Tally{Recorded: 1, Ignored: 1, Quarantined: 1, Stored: 1, Baseline: 1}},
		{1, time.Now().Add(-2 * time.Hour), store.Tally{Recorded: 1, Quarantined: 1, Stored: 1}},
		{2, time.Time{}, store.Tally{Duplicate: 1, Due: 1}},
		{5, time.Time{}, store.Tally{}},
	} {
		got, err := db.TallyOf(t.Context(), tt.mailbox, tt.since)
		if err != nil || got != tt.want {
			t.Errorf("mailbox %d since %v: got %+v, %v; want %+v", tt.mailbox, tt.since, got, err, tt.want)
		}
	}
	met, err := db.SightingsOf(t.Context(), 2)
	if err != nil || met.Sightings != 1 || met.LastAt == nil {
		t.Errorf("got %+v, %v; want 1 sighting", met, err)
	}
	if mark, err := db.PollMarkOf(t.Context(), 3); err != nil || mark.Token != 1 || !mark.Claimed || mark.Now.IsZero() {
		t.Errorf("got %+v, %v; want token 1, claimed", mark, err)
	}
	if _, err := db.PollMarkOf(t.Context(), 4); !errors.Is(err, store.ErrNoRecord) {
		t.Errorf("got %v, want ErrNoRecord for a mailbox that is not scheduled", err)
	}
}

var (
	activityOne = uuid.MustParse("00000000-0000-7000-8000-0000000000a1")
	emailOne    = uuid.MustParse("00000000-0000-7000-8000-0000000000e1")
	emailTwo    = uuid.MustParse("00000000-0000-7000-8000-0000000000e2")
)

func TestActivities(t *testing.T) {
	db := office(t)
	for name, tt := range map[string]struct {
		mailbox int64
		page    store.Page
		want    int
	}{
		"all":                    {0, store.Page{Limit: 10}, 1},
		"its own mailbox":        {1, store.Page{Limit: 10}, 1},
		"another that met it":    {2, store.Page{Limit: 10}, 1},
		"one that did not":       {3, store.Page{Limit: 10}, 0},
		"since before":           {0, store.Page{Since: time.Now().Add(-2 * time.Hour), Limit: 10}, 1},
		"since after":            {0, store.Page{Since: time.Now().Add(-time.Minute), Limit: 10}, 0},
		"no more than the limit": {0, store.Page{Limit: 0}, 0},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := db.Activities(t.Context(), tt.mailbox, tt.page)
			if err != nil || len(got) != tt.want {
				t.Errorf("got %d activities, %v; want %d", len(got), err, tt.want)
			}
			if len(got) > 0 && (got[0].FromAddress != "Ann@customer.example" || got[0].Mailbox != "alice" || got[0].Attachments != 1) {
				t.Errorf("got %+v", got[0])
			}
		})
	}
}

func TestActivityWithAllThatBelongsToIt(t *testing.T) {
	db := office(t)
	d, err := db.Activity(t.Context(), activityOne)
	if err != nil {
		t.Fatal(err)
	}
	if len(d.Parties) != 2 || d.Parties[0].Role != "from" || *d.Parties[0].PartyID != "5" || !d.Parties[0].Resolved || d.Parties[1].Resolved {
		t.Errorf("got parties %+v", d.Parties)
	}
	if len(d.Attachments) != 1 || d.Attachments[0].Filename != "invoice.zip" || len(d.Attachments[0].SHA256) != 64 {
		t.Errorf("got attachments %+v", d.Attachments)
	}
	if len(d.Sightings) != 2 || d.Sightings[0].Mailbox != "alice" || d.Sightings[1].Mailbox != "support" {
		t.Errorf("got sightings %+v, want alice's, then support's", d.Sightings)
	}
	span, err := db.Attachment(t.Context(), activityOne, 1)
	if err != nil || span.Offset != 372 || span.Length != 84 || span.Encoding != "base64" {
		t.Errorf("got span %+v, %v", span, err)
	}
	if _, err := db.Attachment(t.Context(), activityOne, 2); !errors.Is(err, store.ErrNoRecord) {
		t.Errorf("attachment 2: got %v, want ErrNoRecord", err)
	}
	if _, err := db.Activity(t.Context(), emailOne); !errors.Is(err, store.ErrNoRecord) {
		t.Errorf("the id of an e-mail: got %v, want ErrNoRecord", err)
	}
}

func TestReceiptsOfAnyID(t *testing.T) {
	db := office(t)
	for id, want := range map[string][]int64{
		"11":                                   {11},
		activityOne.String():                   {11, 12},
		emailOne.String():                      {11, 12},
		emailTwo.String():                      {18},
		"one@customer.example":                 {11, 12},
		"<one@customer.example>":               {11, 12},
		"00000000-0000-7000-8000-0000000000c2": {12},
	} {
		receipts, err := db.Receipts(t.Context(), id)
		var got []int64
		for _, r := range receipts {
			got = append(got, r.ReceiptID)
		}
		if err != nil || !cmp.Equal(got, want) {
			t.Errorf("%s: got %v, %v; want %v", id, got, err, want)
		}
	}
	for _, id := range []string{"999", "", "<>", "none@customer.example", uuid.Nil.String(), "99999999999999999999", "x\x00y\xff"} {
		_, err := db.Receipts(t.Context(), id)
		if _, code, _, hint := fault.Describe(err); !errors.Is(err, store.ErrNoRecord) || code != "no_record" || hint == "" {
			t.Errorf("%q: got %v, want ErrNoRecord with a hint", id, err)
		}
	}
}

func TestReceiptWithItemsAndSteps(t *testing.T) {
	db := office(t)
	list, err := db.Receipts(t.Context(), "11")
	if err != nil {
		t.Fatal(err)
	}
	r := list[0]
	if r.Mailbox != "alice" || r.Folder != "INBOX" || *r.UID != 5 || *r.UIDValidity != 99 || r.UniqueIDDigest != nil || r.SHA256 == nil {
		t.Errorf("got %+v", r)
	}
	if len(r.Items) != 1 || *r.Items[0].ActivityID != activityOne || *r.Items[0].EmailID != emailOne || *r.Items[0].Mailbox != "alice" {
		t.Errorf("got items %+v", r.Items)
	}
	if len(r.Traces) != 1 || len(r.Traces[0].Steps) != 2 || r.Traces[0].Steps[0].Text() != "465 octets from INBOX" || r.Traces[0].Steps[1].Item != 1 {
		t.Errorf("got traces %+v", r.Traces)
	}
	list, err = db.Receipts(t.Context(), "14")
	if err != nil || list[0].SHA256 != nil || *list[0].Reason != "too_large" || len(list[0].Items) != 0 || len(list[0].Traces) != 0 {
		t.Errorf("got %+v, %v; want no octets, items or steps", list, err)
	}
}

func TestFind(t *testing.T) {
	db := office(t)
	hour := time.Now().Add(-2 * time.Hour)
	for name, tt := range map[string]struct {
		sought store.Sought
		want   []uuid.UUID
	}{
		"message-id":               {store.Sought{MessageID: " <one@customer.example> "}, []uuid.UUID{emailOne}},
		"without an activity":      {store.Sought{MessageID: "two@customer.example"}, []uuid.UUID{emailTwo}},
		"address, folded":          {store.Sought{Address: "ANN@Customer.example"}, []uuid.UUID{emailOne}},
		"address of a receiver":    {store.Sought{Address: "support@corp.example"}, []uuid.UUID{emailOne}},
		"since":                    {store.Sought{Page: store.Page{Since: hour}}, []uuid.UUID{emailTwo, emailOne}},
		"all must be met":          {store.Sought{MessageID: "two@customer.example", Address: "ann@customer.example"}, nil},
		"nobody":                   {store.Sought{Address: "nobody@customer.example"}, nil},
		"one that is too long ago": {store.Sought{Address: "ann@customer.example", Page: store.Page{Since: time.Now()}}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			tt.sought.Limit = 10
			found, err := db.Find(t.Context(), tt.sought)
			var got []uuid.UUID
			for _, e := range found {
				got = append(got, e.EmailID)
			}
			if err != nil || !cmp.Equal(got, tt.want) {
				t.Errorf("got %v, %v; want %v", got, err, tt.want)
			}
		})
	}
	found, err := db.Find(t.Context(), store.Sought{MessageID: "one@customer.example", Page: store.Page{Limit: 1}})
	if err != nil || !cmp.Equal(found[0].Mailboxes, []string{"alice", "support"}) || !cmp.Equal(found[0].Receipts, []int64{11, 12}) {
		t.Errorf("got %+v, %v; want both mailboxes and receipts", found, err)
	}
	if _, err := db.Find(t.Context(), store.Sought{Page: store.Page{Limit: 1}}); err == nil {
		t.Error("nothing sought: got no error")
	}
}

func TestQuarantineByReason(t *testing.T) {
	db := office(t)
	for name, tt := range map[string]struct {
		reason  string
		mailbox int64
		per     int
		want    map[string][]int64 // reason → receipts
	}{
		"all":          {"", 0, 10, map[string][]int64{"untrusted": {18, 13}, "too_large": {14}}},
		"newest":       {"", 0, 1, map[string][]int64{"untrusted": {18}, "too_large": {14}}},
		"counts only":  {"", 0, 0, map[string][]int64{"untrusted": nil, "too_large": nil}},
		"one reason":   {"too_large", 0, 10, map[string][]int64{"too_large": {14}}},
		"one mailbox":  {"", 3, 10, map[string][]int64{"untrusted": {18, 13}}},
		"none of them": {"encrypted", 0, 10, map[string][]int64{}},
	} {
		t.Run(name, func(t *testing.T) {
			groups, err := db.Quarantine(t.Context(), tt.reason, tt.mailbox, tt.per)
			if err != nil {
				t.Fatal(err)
			}
			got := map[string][]int64{}
			for _, g := range groups {
				got[g.Reason] = nil
				for _, e := range g.Entries {
					got[g.Reason] = append(got[g.Reason], e.ReceiptID)
				}
				if g.Reason == "untrusted" && g.Count != 2 {
					t.Errorf("untrusted: got count %d, want 2: an original counts, its message does not count again", g.Count)
				}
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
	groups, err := db.Quarantine(t.Context(), "", 0, 10)
	if err != nil {
		t.Fatal(err)
	}
	first, last := groups[0].Entries[0], groups[1].Entries[0]
	if first.Ordinal != 1 || first.Mailbox != "central" || first.Recipient != "bob" || !first.Kept {
		t.Errorf("got %+v, want original 1 in central for bob, kept", first)
	}
	if last.Ordinal != 0 || last.Mailbox != "alice" || last.Kept {
		t.Errorf("got %+v, want the message as a whole in alice, not kept", last)
	}
}

func TestMailboxNames(t *testing.T) {
	db := office(t)
	got, err := db.MailboxNames(t.Context(), []int64{1, 4, 4, 99})
	if want := map[int64]string{1: "alice", 4: "bob"}; err != nil || !cmp.Equal(got, want) {
		t.Errorf("got %v, %v; want %v", got, err, want)
	}
	if got, err := db.MailboxNames(t.Context(), nil); err != nil || len(got) != 0 {
		t.Errorf("no ids: got %v, %v; want nothing", got, err)
	}
}
