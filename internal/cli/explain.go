package cli

import (
	"context"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/postroom/postroom/internal/config"
	"github.com/postroom/postroom/internal/mailbox"
	"github.com/postroom/postroom/internal/receipt"
	"github.com/postroom/postroom/internal/store"
	"github.com/postroom/postroom/internal/trace"
)

func (a *app) explainCommand() *cobra.Command {
	return a.command(spec{
		use: "explain ID", short: "Show what became of a message and why",
		long: `ID is a receipt, an activity, an e-mail, a sighting or a Message-ID. Shows every receipt that it is about, with its
originals, what was written, and each step of the decision.`,
		example: "  postroom explain 4711\n  postroom explain '<CAFk3x@mail.example>'\n  postroom explain 01930c2e-5f0c-7cc3-98c4-dc0c0c07398f --output json",
		args:    cobra.ExactArgs(1),
		run: func(ctx context.Context, args []string) error {
			return a.withDB(ctx, true, func(ctx context.Context, db *store.DB, _ *config.Config) error {
				receipts, err := readReceipts(ctx, db, args[0])
				if err != nil {
					return err
				}
				if a.isJSON() {
					return a.printJSON(receipts)
				}
				var b strings.Builder
				for i := range receipts {
					if i > 0 {
						b.WriteString("\n")
					}
					b.WriteString(receiptText(&receipts[i]))
				}
				return a.print(b.String())
			})
		},
	})
}

// explainedReceipt is a receipt whose steps have their text.
type explainedReceipt struct {
	store.ReceiptView
	ServerCopy string           `json:"server_copy"` // what is done with it, as far as it is known
	Traces     []explainedTrace `json:"traces"`
}

type explainedTrace struct {
	At    time.Time       `json:"at"`
	Steps []explainedStep `json:"steps"`
}

type explainedStep struct {
	Stage string            `json:"stage"`
	Code  string            `json:"code"`
	Item  int               `json:"item"` // ordinal of the original it is about; 0: the message as a whole
	Args  map[string]string `json:"args"`
	Text  string            `json:"text"`
}

// readReceipts returns the receipts that id is about, with what their steps say.
func readReceipts(ctx context.Context, db *store.DB, id string) ([]explainedReceipt, error) {
	receipts, err := db.Receipts(ctx, id)
	if err != nil {
		return nil, err
	}
	names, err := db.MailboxNames(ctx, mailboxesOf(receipts))
	if err != nil {
		return nil, err
	}
	mailboxes, err := db.Mailboxes(ctx)
	if err != nil {
		return nil, err
	}
	list := make([]explainedReceipt, len(receipts))
	for i, r := range receipts {
		list[i] = explainedReceipt{ReceiptView: r, Traces: []explainedTrace{}}
		if at := slices.IndexFunc(mailboxes, func(m *mailbox.Mailbox) bool { return m.Name == r.Mailbox }); at >= 0 {
			list[i].ServerCopy = serverCopy(&r, mailboxes[at])
		}
		for _, t := range r.Traces {
			e := explainedTrace{At: t.At.UTC(), Steps: []explainedStep{}}
			for _, s := range t.Steps {
				e.Steps = append(e.Steps, explain(s, names))
			}
			list[i].Traces = append(list[i].Traces, e)
		}
	}
	return list, nil
}

// mailboxesOf returns the ids of the mailboxes that steps name.
func mailboxesOf(receipts []store.ReceiptView) []int64 {
	ids := []int64{}
	for _, r := range receipts {
		for _, t := range r.Traces {
			for _, s := range t.Steps {
				if id, err := strconv.ParseInt(s.Args["mailbox_id"], 10, 64); err == nil {
					ids = append(ids, id)
				}
			}
		}
	}
	return ids
}

// explain gives a step its text, with the names of mailboxes and without the details of plus-addresses.
func explain(s trace.Step, names map[int64]string) explainedStep {
	args := make(map[string]string, len(s.Args))
	shown := make(map[string]string, len(s.Args))
	for key, value := range s.Args {
		args[key] = masked(value)
		shown[key] = args[key]
		if id, err := strconv.ParseInt(value, 10, 64); key == "mailbox_id" && err == nil && names[id] != "" {
			shown[key] += " (" + names[id] + ")"
		}
	}
	text := trace.Step{Stage: s.Stage, Code: s.Code, Args: shown}.Text()
	return explainedStep{Stage: string(s.Stage), Code: string(s.Code), Item: s.Item, Args: args, Text: text}
}

// masked hides the detail of a plus-address, which may be a mailbox's token: user+…@example.com.
func masked(s string) string {
	return plusDetail.ReplaceAllString(s, "$1+…@")
}

var plusDetail = regexp.MustCompile(`([^\s<>@+(,;:"])\+[^\s<>@]+@`)

func receiptText(r *explainedReceipt) string {
	var f fields
	f.line("receipt %d: %s", r.ReceiptID, outcomeText(r.State, r.Outcome, r.Reason))
	f.line("  found in     %s, folder %s, %s, %s, at %s", r.Mailbox, r.Folder, identityText(&r.ReceiptView), octets(r.Octets), at(&r.SeenAt))
	if r.SHA256 != nil {
		f.line("  octets kept  sha256 %s", *r.SHA256)
	} else {
		f.line("  octets kept  no")
	}
	if r.NextTryAt != nil {
		f.line("  tried        %d times, again at %s", value(r.Tries), at(r.NextTryAt))
	}
	for _, i := range r.Items {
		f.line("  original %d   %s", i.Ordinal, itemText(i))
	}
	if r.ServerCopy != "" {
		f.line("  server copy  %s", r.ServerCopy)
	}
	for _, t := range r.Traces {
		f.line("  decided at %s:", at(&t.At))
		for _, s := range t.Steps {
			about := ""
			if s.Item > 0 {
				about = fmt.Sprintf(" (original %d)", s.Item)
			}
			f.line("    %-10s %s%s", s.Stage, s.Text, about)
		}
	}
	return f.b.String()
}

func outcomeText(state string, outcome, reason *string) string {
	switch {
	case outcome != nil && reason != nil:
		return *outcome + ", " + *reason + prefixed(": ", reasonText(*reason))
	case outcome != nil:
		return *outcome
	case state == "baseline":
		return "there before the start point, never read"
	case state == "stored":
		return "octets kept, to be decided"
	}
	return state
}

func identityText(r *store.ReceiptView) string {
	if r.UID != nil {
		return fmt.Sprintf("UIDVALIDITY %d, UID %d", value(r.UIDValidity), *r.UID)
	}
	return fmt.Sprintf("unique-id digest %s, generation %d", value(r.UniqueIDDigest), value(r.Generation))
}

func itemText(i store.ItemView) string {
	parts := []string{outcomeText("", &i.Outcome, i.Reason)}
	if i.ActivityID != nil {
		parts = append(parts, "activity "+i.ActivityID.String())
	}
	if i.EmailID != nil {
		parts = append(parts, "e-mail "+i.EmailID.String())
	}
	if i.ConflictOf != nil {
		parts = append(parts, "claims the identity of e-mail "+i.ConflictOf.String())
	}
	if i.Mailbox != nil {
		parts = append(parts, "for "+*i.Mailbox)
	}
	if i.Path != "" {
		parts = append(parts, "part "+i.Path)
	}
	return strings.Join(append(parts, octets(i.Octets)), ", ")
}

// serverCopy says what is done with the copy on the server by what its mailbox m says now; "" if that is not decided.
func serverCopy(r *store.ReceiptView, m *mailbox.Mailbox) string {
	action, target := m.DispositionOf(value(r.Outcome))
	rule := "left where it is"
	switch action {
	case mailbox.Delete:
		rule = "deleted"
	case mailbox.Move:
		rule = "moved to " + target
	case mailbox.Leave:
	}
	switch {
	case r.Disposition == nil && (r.Outcome == nil || value(r.Reason) == string(receipt.Vanished)):
		return ""
	case r.Disposition == nil:
		return "left where it is"
	case *r.Disposition == "done":
		return "dealt with, the server confirmed; the mailbox's rule now: " + rule
	case *r.Disposition == "void":
		return "left alone: the server renumbered its messages"
	case action == mailbox.Leave:
		return "left where it is: the mailbox's rule was changed"
	case *r.Disposition == "copied":
		return "copied to its folder, to be deleted from " + at(r.DisposeAt)
	}
	return "to be " + rule + " from " + at(r.DisposeAt)
}
