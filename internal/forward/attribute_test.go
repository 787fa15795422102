package forward

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/postroom/postroom/internal/mailbox"
	"github.com/postroom/postroom/internal/receipt"
)

func TestAttribute(t *testing.T) {
	t.Parallel()
	delivered := "Delivered-To: forward+" + token + "@corp.example"
	loop := "X-MS-Exchange-Inbox-Rules-Loop: alice@corp.example"
	stranger := "From: mallory@evil.example"
	nobody := "From: customer@client.example\r\nTo: nobody@corp.example\r\n\r\n"
	to := func(addrs string) string { return "From: customer@client.example\r\nTo: " + addrs + "\r\n\r\nx" }
	tests := []struct {
		name     string
		fields   []string
		original string
		want     int64 // 0: nobody
		by       Kind
		reason   receipt.Reason
		evidence string
	}{
		{"token", []string{delivered, received, stranger}, nobody, 1, PlusToken, "", "plus_token 1 strong"},
		{"token in Envelope-To", []string{"Envelope-To: <forward+" + token + "@corp.example>", received, stranger}, nobody, 1, PlusToken, "", "plus_token 1 strong"},
		{"token without a Received of ours", []string{delivered, stranger}, nobody, 1, PlusToken, "", "plus_token 1 strong"},
		{"second Delivered-To of ours", []string{"Delivered-To: forward@store.corp.example", delivered, received, stranger}, nobody, 1, PlusToken, "", "plus_token 1 strong"},
		{"token below our Received", []string{received, delivered, stranger}, nobody, 0, "", receipt.UnknownRecipient, ""},
		{"token in To", []string{received, stranger, "To: forward+" + token + "@corp.example"}, nobody, 0, "", receipt.UnknownRecipient, ""},
		{"sender", []string{received, fromHer}, nobody, 1, OuterFrom, "", "outer_from 1 strong"},
		{"sender's alias", []string{received, "From: A@corp.example"}, nobody, 1, OuterFrom, "", "outer_from 1 strong"},
		{"sender of two fields", []string{received, fromHer, stranger}, nobody, 0, "", receipt.UnknownRecipient, ""},
		{"token and sender agree", []string{delivered, received, fromHer}, nobody, 1, PlusToken, "", "plus_token 1 strong, outer_from 1 strong"},
		{"token and sender disagree", []string{delivered, received, "From: bob@corp.example"}, to("alice@corp.example"), 0, "", receipt.EvidenceConflict, "plus_token 1 strong, outer_from 2 strong, original_field 1 weak"},
		{"marker corroborates", []string{received, fromHer, loop}, nobody, 1, OuterFrom, "", "outer_from 1 strong, rules_loop 1 corroborating"},
		{"marker decides nothing", []string{received, stranger, loop}, nobody, 0, "", receipt.UnknownRecipient, "rules_loop 1 corroborating"},
		{"marker of another is no conflict", []string{received, "From: bob@corp.example", loop}, nobody, 2, OuterFrom, "", "outer_from 2 strong, rules_loop 1 corroborating"},
		{"original's To", []string{received, stranger}, to("x@client.example, Alice <alice+x@corp.example>"), 1, OriginalField, "", "original_field 1 weak"},
		{"original's To names two", []string{received, stranger}, to("alice@corp.example, bob@corp.example"), 0, "", receipt.UnknownRecipient, "original_field 1 weak, original_field 2 weak"},
		{"original's To names one twice", []string{received, stranger}, to("alice@corp.example, a@corp.example"), 1, OriginalField, "", "original_field 1 weak"},
		{"original's Delivered-To goes before To", []string{received, stranger}, "Delivered-To: bob@corp.example\r\n" + to("alice@corp.example, bob@corp.example"), 2, OriginalEnv, "", "original_env 2 weak, original_field 1 weak, original_field 2 weak"},
		{"original's Delivered-To names two", []string{received, stranger}, "Delivered-To: bob@corp.example\r\nX-Original-To: alice@corp.example\r\n" + to("alice@corp.example"), 0, "", receipt.UnknownRecipient, "original_env 2 weak, original_env 1 weak, original_field 1 weak"},
		{"sender goes before the original", []string{received, fromHer}, to("bob@corp.example"), 1, OuterFrom, "", "outer_from 1 strong, original_field 2 weak"},
		{"original's sender says nothing", []string{received, stranger}, "From: alice@corp.example\r\nTo: x@client.example\r\n\r\n", 0, "", receipt.UnknownRecipient, ""},
		{"forward mailbox is nobody's", []string{received, "From: forward@corp.example"}, to("forward@corp.example"), 0, "", receipt.UnknownRecipient, ""},
		{"polled itself", []string{received, "From: sales@corp.example"}, nobody, 3, OuterFrom, receipt.NotForwarding, "outer_from 3 strong"},
		{"nothing", []string{received, stranger}, nobody, 0, "", receipt.UnknownRecipient, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			a := Attribute(outer(tt.fields...), original(t, tt.original), people(t), forwardMailbox(mailbox.Enforce))
			var got int64
			if a.Recipient != nil {
				got = a.Recipient.ID
			}
			if got != tt.want || a.By != tt.by || a.Reason != tt.reason {
				t.Errorf("got mailbox %d by %q, reason %q, want %d by %q, %q", got, a.By, a.Reason, tt.want, tt.by, tt.reason)
			}
			var evidence []string
			for _, e := range a.Evidence {
				evidence = append(evidence, fmt.Sprintf("%s %d %s", e.Kind, e.MailboxID, e.Strength))
			}
			if s := strings.Join(evidence, ", "); s != tt.evidence {
				t.Errorf("evidence %q, want %q", s, tt.evidence)
			}
			if len(a.Trace) == 0 {
				t.Error("no trace")
			}
		})
	}
}

// TestAttributeBounds wants a hostile original with very many addresses read in bounds, and its trace short.
func TestAttributeBounds(t *testing.T) {
	t.Parallel()
	var boxes []*mailbox.Mailbox
	var addrs []string
	for i := range 3000 {
		addr := fmt.Sprintf("u%d@corp.example", i)
		addrs = append(addrs, addr)
		boxes = append(boxes, &mailbox.Mailbox{ID: int64(i + 1), Kind: mailbox.User, Address: addr, Incoming: mailbox.ForwardMailbox})
	}
	var to strings.Builder
	for chunk := range slices.Chunk(addrs, 100) {
		to.WriteString("To: " + strings.Join(chunk, ",\r\n ") + "\r\n")
	}
	a := Attribute(outer(received, "From: x@y.example"), original(t, to.String()+"\r\nx"), mailbox.NewRegistry(boxes), forwardMailbox(mailbox.Enforce))
	if a.Recipient != nil || a.Reason != receipt.UnknownRecipient {
		t.Errorf("recipient %v, reason %q, want unknown_recipient", a.Recipient, a.Reason)
	}
	if len(a.Evidence) > 1000 || len(a.Trace) > maxNoted+1 {
		t.Errorf("%d pieces of evidence and %d steps, want at most 1000 and %d", len(a.Evidence), len(a.Trace), maxNoted+1)
	}
}

func TestAttributionHas(t *testing.T) {
	t.Parallel()
	a := Attribute(outer(received, fromHer, "X-MS-Exchange-Inbox-Rules-Loop: bob@corp.example"), original(t, "\r\n"), people(t), forwardMailbox(mailbox.Enforce))
	if !a.Has(OuterFrom) || a.Has(RulesLoop) || a.Has(PlusToken) {
		t.Errorf("evidence %v: want only outer_from for the recipient", a.Evidence)
	}
}
