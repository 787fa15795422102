package store

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/postroom/postroom/internal/fault"
	"github.com/postroom/postroom/internal/mailbox"
	"github.com/postroom/postroom/internal/receipt"
	"github.com/postroom/postroom/internal/source"
	"github.com/postroom/postroom/internal/trace"
)

// writeTimeout bounds one batch with its retries.
const writeTimeout = 2 * time.Minute

// RawPutter is the raw store as the Writer needs it. Both work in the caller's transaction.
type RawPutter interface {
	// Put stores octets, or finds them, and returns their raw rows in the same order, locked against collection.
	Put(ctx context.Context, tx pgx.Tx, raws []*source.Raw) ([]int64, error)
	// Adopt makes a loading row stored, or finds another with the same octets, and returns the row that holds them.
	Adopt(ctx context.Context, tx pgx.Tx, loadID int64, r *source.Raw) (int64, error)
}

// Writer writes batches: receipts, items, e-mails, activities with parties and attachments, sightings, events, traces
// and the cursor, all in one transaction that the lease's token guards.
//
// Invariants:
//   - a receipt's identity is written once: a second Write of the same message adds nothing and returns what the first
//     one wrote;
//   - a message has one activity, however many copies of it come, in whatever order, through however many daemons;
//   - rows are locked in one order: lease, folder, mailboxes, raws, receipts, e-mails by identity, activities.
type Writer struct {
	db   *DB
	raws RawPutter
}

// Writer returns a Writer that keeps octets in raws.
func (db *DB) Writer(raws RawPutter) *Writer { return &Writer{db: db, raws: raws} }

// Write writes a batch in one transaction and returns what became of each receipt, in the batch's order. When it
// returns nil, everything is durable.
//
// Nothing is written when it fails, with one exception: where COMMIT has no answer the receipts are read back, and
// ErrCommitUnknown is left where that cannot be done or finds them missing. Then the batch may be there all the same;
// writing it again is harmless. After an error for which IsolatesBadRow is true, the batch's
// receipts are to be written one by one. mailbox.ErrLeaseLost means that another daemon has the mailbox.
func (w *Writer) Write(ctx context.Context, lease mailbox.Lease, b *receipt.Batch) ([]receipt.Result, error) {
	if err := checkBatch(b); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, writeTimeout)
	defer cancel()
	var results []receipt.Result
	err := w.db.InTx(ctx, pgx.TxOptions{}, func(ctx context.Context, tx pgx.Tx) error {
		if err := CheckLease(ctx, tx, lease); err != nil {
			return err
		}
		a := newAttempt(tx, lease, b)
		if err := a.write(ctx, w.raws); err != nil {
			return err
		}
		results = a.results()
		return nil
	})
	if errors.Is(err, ErrCommitUnknown) {
		if found, committed, err := w.ReadBack(ctx, b); err == nil && committed {
			return found, nil
		}
	}
	if err != nil {
		return nil, fmt.Errorf("write a batch of %d messages: %w", len(b.Receipts), Classify(err))
	}
	return results, nil
}

// attempt is one attempt at writing a batch. It is made anew when the transaction is tried again.
type attempt struct {
	tx       pgx.Tx
	lease    mailbox.Lease
	b        *receipt.Batch
	messages []message
	rawIDs   map[[32]byte]int64
	alive    map[int64]bool // mailboxes of items that still exist
	mail     ledger
}

// message is a receipt of the batch on its way into the database.
type message struct {
	r       *receipt.Receipt
	planned rowState
	rowID   int64
	rawID   *int64
	written bool           // by this transaction; else result was read back
	result  receipt.Result // of one that was written before
	items   []*item
	trace   trace.Trace
}

// item is an original on its way.
type item struct {
	*receipt.Item
	m       *message
	rawID   int64
	outcome receipt.ItemResult
	email   *email // of a recorded, duplicate or deleted one
	sights  bool   // adds a sighting
}

func newAttempt(tx pgx.Tx, lease mailbox.Lease, b *receipt.Batch) *attempt {
	a := &attempt{tx: tx, lease: lease, b: b, messages: make([]message, len(b.Receipts))}
	for i := range b.Receipts {
		m := &a.messages[i]
		m.r = &b.Receipts[i]
		m.planned = plan(m.r)
		m.trace = slices.Clone(m.r.Trace)
		for j := range m.r.Items {
			if m.planned.state != "finished" {
				break // they are decided with the receipt
			}
			m.items = append(m.items, &item{Item: &m.r.Items[j], m: m})
		}
	}
	return a
}

// write is the transaction, after the lease was checked.
func (a *attempt) write(ctx context.Context, raws RawPutter) error {
	if err := a.lockRecords(ctx); err != nil {
		return err
	}
	if err := a.putRaws(ctx, raws); err != nil {
		return err
	}
	if err := a.putReceipts(ctx); err != nil {
		return err
	}
	if err := a.meetEmails(ctx); err != nil {
		return err
	}
	a.decide()
	a.correlate()
	return a.record(ctx)
}

// lockRecords holds the folder and the mailboxes that the batch names, so that they stay until it is written. Mail for
// a mailbox that was deleted since it was attributed goes to quarantine with its item.
func (a *attempt) lockRecords(ctx context.Context) error {
	var ids []int64
	for i := range a.messages {
		for _, it := range a.messages[i].items {
			ids = append(ids, it.MailboxID, it.ViaID)
		}
	}
	slices.Sort(ids)
	ids = slices.Compact(ids)
	var folder int64
	a.alive = make(map[int64]bool, len(ids))
	batch := &pgx.Batch{}
	batch.Queue(`SELECT folder_id FROM folder_cursor WHERE folder_id = $1 AND mailbox_id = $2 FOR NO KEY UPDATE`,
		a.b.FolderID, a.lease.MailboxID).QueryRow(func(row pgx.Row) error { return row.Scan(&folder) })
	batch.Queue(`SELECT mailbox_id FROM mailbox WHERE mailbox_id = ANY ($1::bigint[]) ORDER BY mailbox_id FOR KEY SHARE`, ids).
		Query(func(rows pgx.Rows) error {
			var id int64
			_, err := pgx.ForEachRow(rows, []any{&id}, func() error {
				a.alive[id] = true
				return nil
			})
			return err
		})
	err := a.tx.SendBatch(ctx, batch).Close()
	if errors.Is(err, pgx.ErrNoRows) {
		return fault.New(fault.Stopping, "folder_gone", "",
			fmt.Errorf("folder %d is none of mailbox %d", a.b.FolderID, a.lease.MailboxID))
	}
	return fault.Wrap(err, "lock the folder and the mailboxes")
}

// putRaws stores the octets of receipts and items, each once. Large ones that were loaded before are adopted, in the
// order of their digests.
func (a *attempt) putRaws(ctx context.Context, raws RawPutter) error {
	loaded := make(map[[32]byte][]int64)
	var all []*source.Raw
	for i := range a.messages {
		r := a.messages[i].r
		if r.Raw != nil {
			all = append(all, r.Raw)
			if r.LoadID != 0 {
				loaded[r.Raw.SHA256()] = append(loaded[r.Raw.SHA256()], r.LoadID)
			}
		}
		for _, it := range a.messages[i].items {
			all = append(all, it.Raw)
		}
	}
	slices.SortStableFunc(all, func(x, y *source.Raw) int { sx, sy := x.SHA256(), y.SHA256(); return slices.Compare(sx[:], sy[:]) })
	all = slices.CompactFunc(all, func(x, y *source.Raw) bool { return x.SHA256() == y.SHA256() })
	a.rawIDs = make(map[[32]byte]int64, len(all))
	var put []*source.Raw
	for _, r := range all {
		loadIDs := loaded[r.SHA256()]
		if len(loadIDs) == 0 {
			put = append(put, r)
		}
		for _, loadID := range loadIDs {
			id, err := raws.Adopt(ctx, a.tx, loadID, r)
			if err != nil {
				return fmt.Errorf("adopt %d octets: %w", r.Octets(), err)
			}
			a.rawIDs[r.SHA256()] = id
		}
	}
	if len(put) > 0 {
		ids, err := raws.Put(ctx, a.tx, put)
		if err != nil {
			return fmt.Errorf("keep the octets of %d messages: %w", len(put), err)
		}
		for i, r := range put {
			a.rawIDs[r.SHA256()] = ids[i]
		}
	}
	a.nameRaws()
	return nil
}

func (a *attempt) nameRaws() {
	for i := range a.messages {
		m := &a.messages[i]
		if m.r.Raw != nil {
			m.rawID = new(a.rawIDs[m.r.Raw.SHA256()])
		}
		for _, it := range m.items {
			it.rawID = a.rawIDs[it.Raw.SHA256()]
		}
	}
}

// results returns what became of each receipt.
func (a *attempt) results() []receipt.Result {
	out := make([]receipt.Result, len(a.messages))
	for i := range a.messages {
		m := &a.messages[i]
		if !m.written {
			out[i] = m.result
			continue
		}
		out[i] = receipt.Result{ReceiptID: m.rowID, Outcome: m.planned.outcome, Reason: m.planned.reason}
		for _, it := range m.items {
			out[i].Items = append(out[i].Items, it.outcome)
		}
	}
	return out
}

// IsolatesBadRow reports whether Write failed because of what a row holds, so that writing the batch's receipts one by
// one finds the bad one, and Receipt.Unrecordable keeps it. It is false for conflicts between transactions, for lost
// connections, time-outs and full disks, and for a schema that does not fit: these say nothing about a message, and
// must never fill the quarantine.
func IsolatesBadRow(err error) bool {
	if err == nil || errors.Is(err, mailbox.ErrLeaseLost) || errors.Is(err, ErrCommitUnknown) {
		return false
	}
	if pg, ok := errors.AsType[*pgconn.PgError](err); ok {
		class := pg.Code[:min(2, len(pg.Code))]
		// data exception, integrity, check option, raised by an admin's trigger, program limit
		return slices.Contains([]string{"22", "23", "44", "P0", "54"}, class)
	}
	return fault.ClassOf(err) == fault.Poison
}

// checkBatch refuses a batch that breaks the contract of package receipt before anything is written.
func checkBatch(b *receipt.Batch) error {
	seen := make(map[rowKey]bool, len(b.Receipts))
	for i := range b.Receipts {
		r := &b.Receipts[i]
		if err := checkReceipt(r); err != nil {
			return badBatch(fmt.Errorf("receipt %d of the batch: %w", i, err))
		}
		if key := keyOf(r); r.ID == 0 && seen[key] {
			return badBatch(fmt.Errorf("receipt %d of the batch: its identity occurs twice", i))
		} else if r.ID == 0 {
			seen[key] = true
		}
	}
	return nil
}

func badBatch(err error) error {
	return fault.New(fault.Poison, "bad_batch", "This is a defect of Postroom: please report it.", err)
}

func checkReceipt(r *receipt.Receipt) error {
	decided := !r.Baseline && !r.Undecided
	switch {
	case r.ID == 0 && r.Ref.UniqueID == "" && (r.Ref.UID == 0 || r.Ref.UIDValidity == 0),
		r.Ref.UniqueID != "" && r.Ref.UID != 0:
		return errors.New("it has no identity")
	case r.Baseline && (r.Raw != nil || len(r.Items) > 0 || r.ID != 0):
		return errors.New("it came before the start point and was read")
	case r.Undecided && r.Raw == nil:
		return errors.New("it is to be decided later without its octets")
	case decided && len(r.Items) == 0 && !accountsFor(r.Plan, r.Reason):
		return fmt.Errorf("its outcome is %q with reason %q", r.Plan, r.Reason)
	case len(r.Items) > 0 && r.Raw == nil:
		return errors.New("it has items and no octets")
	case len(r.Items) > maxItems:
		return fmt.Errorf("it has %d items", len(r.Items))
	}
	for i := range r.Items {
		if err := checkItem(&r.Items[i], i+1); err != nil {
			return fmt.Errorf("item %d: %w", i+1, err)
		}
	}
	return nil
}

func checkItem(it *receipt.Item, ordinal int) error {
	switch {
	case it.Ordinal != ordinal:
		return fmt.Errorf("its ordinal is %d", it.Ordinal)
	case it.Raw == nil || it.Offset < 0 || it.Octets < 0 || it.Offset > it.Raw.Octets()-it.Octets:
		return errors.New("its span does not lie in its octets")
	case it.Plan == receipt.Recorded && (it.Activity == nil || it.MailboxID == 0):
		return errors.New("it is to be recorded without activity or recipient")
	case it.Plan != receipt.Recorded && !accountsFor(it.Plan, it.Reason):
		return fmt.Errorf("its outcome is %q with reason %q", it.Plan, it.Reason)
	}
	return nil
}

// accountsFor reports whether a message without a record has an outcome with a reason.
func accountsFor(o receipt.Outcome, reason receipt.Reason) bool {
	return (o == receipt.Ignored || o == receipt.Quarantined) && reason != ""
}

// byIdentity orders e-mails in the one order in which they are locked.
func byIdentity(x, y *email) int {
	return cmp.Or(slices.Compare(x.identity[:], y.identity[:]), cmp.Compare(x.variant, y.variant))
}
