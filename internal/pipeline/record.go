package pipeline

import (
	"context"
	"time"

	"github.com/postroom/postroom/internal/activity"
	"github.com/postroom/postroom/internal/fault"
	"github.com/postroom/postroom/internal/mailbox"
	"github.com/postroom/postroom/internal/receipt"
	"github.com/postroom/postroom/internal/relate"
	"github.com/postroom/postroom/internal/source"
	"github.com/postroom/postroom/internal/trace"
)

// retryAfter is how long a message waits whose decision failed, times the tries so far.
const retryAfter = time.Minute

// correlate finds which messages an original answers. Whether those are known is looked up when it is recorded, so that
// a reply and what it answers find each other within a batch.
func (p *Pipeline) correlate(m *message, o *original) {
	if o.plan != "" {
		return
	}
	m.at = trace.Correlate
	o.view = o.message.View()
	o.correlations = relate.Correlations(o.view.InReplyTo, o.view.References)
}

// compose makes what is recorded of an original: its activity, the identity that it claims, and the content by which
// copies of it are known.
func (p *Pipeline) compose(m *message, o *original) {
	if o.plan != "" {
		return
	}
	m.at = trace.Record
	o.plan = receipt.Recorded
	o.activity = p.activityOf(m, o)
	o.identity = identityOf(o.view, o.activity)
	o.content = activity.ContentOf(o.sum(m), o.view.Text, o.activity.Attachments, o.authenticated, o.how)
}

// resolve asks the party directory, once for the batch, who the people are. When it cannot say, mail is recorded
// unresolved.
func (p *Pipeline) resolve(ctx context.Context, messages []*message) {
	var activities []*activity.Activity
	for _, m := range messages {
		for _, o := range m.originals {
			if o.plan == receipt.Recorded {
				activities = append(activities, o.activity)
			}
		}
	}
	err := relate.Resolve(ctx, p.Resolver, activities)
	if err == nil {
		return
	}
	p.Log.Error("the party directory could not be asked: mail is recorded with unresolved parties", "error", err)
	for _, m := range messages {
		for _, o := range m.originals {
			if o.plan == receipt.Recorded {
				m.trace.AddItem(o.ordinal, trace.Resolve, "unresolved")
			}
		}
	}
}

// record writes the batch in one transaction. When it fails because of what is in it, its messages are written one by
// one, so that only the bad one goes to quarantine; the cursor follows when all are written.
func (p *Pipeline) record(ctx context.Context, b *Batch, messages []*message) ([]receipt.Result, error) {
	w := receipt.Batch{FolderID: b.FolderID, Closed: b.Closed, Cursor: b.Cursor}
	defer p.discard(ctx, messages)
	for _, m := range messages {
		if err := p.load(ctx, b, m); err != nil {
			return nil, err
		}
		m.receipt.Trace = m.trace
		w.Receipts = append(w.Receipts, m.receipt)
	}
	results, err := p.Writer.Write(ctx, b.Lease, &w)
	if err == nil {
		for i := range results {
			p.audit(ctx, b, messages[i], &results[i])
		}
		return results, nil
	}
	if !p.Isolates(err) {
		return nil, err
	}
	p.Log.Warn("a batch could not be written: its messages are written one by one", "mailbox_id", b.Mailbox.ID,
		"folder_id", b.FolderID, "messages", len(messages), "error", err)
	results = results[:0]
	for i, r := range w.Receipts {
		res, err := p.recordAlone(ctx, b, r)
		if err != nil {
			return nil, err
		}
		p.audit(ctx, b, messages[i], &res)
		results = append(results, res)
	}
	_, err = p.Writer.Write(ctx, b.Lease, &receipt.Batch{FolderID: b.FolderID, Closed: b.Closed, Cursor: b.Cursor})
	return results, err
}

// recordAlone writes one message; what PostgreSQL refuses goes to quarantine with its octets.
func (p *Pipeline) recordAlone(ctx context.Context, b *Batch, r receipt.Receipt) (receipt.Result, error) {
	results, err := p.Writer.Write(ctx, b.Lease, &receipt.Batch{FolderID: b.FolderID, Receipts: []receipt.Receipt{r}})
	if err != nil && p.Isolates(err) {
		p.Log.Error("a message could not be written: it goes to quarantine", "mailbox_id", b.Mailbox.ID,
			"folder_id", b.FolderID, "uid", r.Ref.UID, "error", err)
		r = r.Unrecordable()
		d, _ := b.Mailbox.DispositionOf(string(receipt.Quarantined))
		r.Dispose, r.DisposeIn = d != mailbox.Leave && r.Reason == receipt.Unrecordable, 0
		results, err = p.Writer.Write(ctx, b.Lease, &receipt.Batch{FolderID: b.FolderID, Receipts: []receipt.Receipt{r}})
	}
	if err != nil {
		return receipt.Result{}, err
	}
	return results[0], nil
}

// load stores the octets of a large message ahead of the batch, so that the transaction stays short.
func (p *Pipeline) load(ctx context.Context, b *Batch, m *message) error {
	r := &m.receipt
	if r.Raw == nil || r.ID != 0 || r.Raw.Octets() <= source.MemoryOctets {
		return nil
	}
	id, err := p.Loader.Load(ctx, b.Lease.DaemonID, r.Raw)
	if err != nil {
		return fault.Wrap(err, "store a message of %d octets", r.Raw.Octets())
	}
	r.LoadID = id
	return nil
}

// discard removes what was loaded and is not needed: because the batch was not written, or was written before.
func (p *Pipeline) discard(ctx context.Context, messages []*message) {
	for _, m := range messages {
		if m.receipt.LoadID == 0 {
			continue
		}
		if err := p.Loader.Discard(context.WithoutCancel(ctx), m.receipt.LoadID); err != nil {
			p.Log.WarnContext(ctx, "octets that are not needed could not be removed: they are collected later",
				"load_id", m.receipt.LoadID, "error", err)
		}
	}
}

// audit writes one line for a message's outcome.
func (p *Pipeline) audit(ctx context.Context, b *Batch, m *message, res *receipt.Result) {
	if res.Outcome == "" {
		return
	}
	attrs := []any{
		"outcome", res.Outcome, "mailbox_id", b.Mailbox.ID, "folder_id", b.FolderID, "receipt_id", res.ReceiptID,
		"octets", m.arrival.Ref.Octets, "class", m.class.Class,
	}
	if m.arrival.Ref.UID != 0 {
		attrs = append(attrs, "uid", m.arrival.Ref.UID)
	}
	if res.Reason != "" {
		attrs = append(attrs, "reason", res.Reason)
	}
	for _, item := range res.Items {
		if item.ActivityID != "" {
			attrs = append(attrs, "activity_id", item.ActivityID)
		}
	}
	p.Audit.InfoContext(ctx, "message", attrs...)
}

// account turns what the stages decided into the receipt that is written.
func (m *message) account() {
	r := &m.receipt
	switch a := m.arrival; {
	case a.Baseline:
		return
	case a.Raw == nil || a.HeaderOnly:
		m.trace.Add(trace.Fetch, "not_fetched", "folder", a.Ref.Folder, "reason", string(a.Reason))
		r.Plan, r.Reason = receipt.Quarantined, a.Reason
		if a.Reason == receipt.Vanished {
			r.Plan = receipt.Ignored
		}
		return // nothing of it is disposed of: the octets are not ours
	case len(m.originals) == 0:
		r.Plan, r.Reason = m.plan, m.reason
	}
	planned := make([]receipt.ItemResult, 0, len(m.originals))
	for _, o := range m.originals {
		r.Items = append(r.Items, o.item(m))
		planned = append(planned, receipt.ItemResult{Outcome: o.plan, Reason: o.reason})
	}
	outcome := r.Plan
	if len(planned) > 0 {
		outcome, _ = receipt.Overall(planned)
	}
	switch d, _ := m.batch.Mailbox.DispositionOf(string(outcome)); d {
	case mailbox.Delete:
		r.Dispose, r.DisposeIn = true, m.batch.Mailbox.DeleteAfter
	case mailbox.Move:
		r.Dispose = true
	case mailbox.Leave:
	}
}

// item is what is written about an original.
func (o *original) item(m *message) receipt.Item {
	it := receipt.Item{
		Ordinal: o.ordinal, Path: o.path, Raw: o.raw, Offset: o.offset, Octets: o.octets, Plan: o.plan, Reason: o.reason,
		Email: o.identity, Content: o.content,
	}
	if o.recipient != nil {
		it.MailboxID = o.recipient.ID
	}
	if m.batch.Mailbox.Kind == mailbox.Forward {
		it.ViaID = m.batch.Mailbox.ID
	}
	if o.plan == receipt.Recorded {
		it.Activity = o.activity
	}
	return it
}

// retry leaves a message whose decision failed to be decided again from our store, or, after the last try, to a person.
// What is not its own fault, as a full disk, is no try.
func (m *message) retry(tries int, counts bool) {
	m.originals = nil
	r := &m.receipt
	r.Items = nil
	r.Tries = m.arrival.Tries
	if counts {
		r.Tries++
	}
	if r.Tries >= tries {
		r.Plan, r.Reason = receipt.Quarantined, receipt.Unreadable
		return
	}
	r.Undecided, r.RetryIn = true, time.Duration(max(r.Tries, 1))*retryAfter
}
