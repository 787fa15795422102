package cli

import (
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/postroom/postroom/internal/config"
	"github.com/postroom/postroom/internal/store"
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
				receipts, err := db.Receipts(ctx, args[0])
				if err != nil {
					return err
				}
				if a.isJSON() {
					return a.printJSON(explained(receipts))
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
	Traces []explainedTrace `json:"traces"`
}

type explainedTrace struct {
	At    string          `json:"at"`
	Steps []explainedStep `json:"steps"`
}

type explainedStep struct {
	Stage string            `json:"stage"`
	Code  string            `json:"code"`
	Item  int               `json:"item"` // ordinal of the original it is about; 0: the message as a whole
	Args  map[string]string `json:"args"`
	Text  string            `json:"text"`
}

func explained(receipts []store.ReceiptView) []explainedReceipt {
	list := make([]explainedReceipt, len(receipts))
	for i, r := range receipts {
		list[i] = explainedReceipt{ReceiptView: r, Traces: []explainedTrace{}}
		for _, t := range r.Traces {
			e := explainedTrace{At: t.At.UTC().Format("2006-01-02T15:04:05.999999Z07:00"), Steps: []explainedStep{}}
			for _, s := range t.Steps {
				if s.Args == nil {
					s.Args = map[string]string{}
				}
				e.Steps = append(e.Steps, explainedStep{Stage: string(s.Stage), Code: string(s.Code), Item: s.Item, Args: s.Args, Text: s.Text()})
			}
			list[i].Traces = append(list[i].Traces, e)
		}
	}
	return list
}

func receiptText(r *store.ReceiptView) string {
	var f fields
	f.line("receipt %d: %s", r.ReceiptID, outcomeText(r.State, r.Outcome, r.Reason))
	f.line("  found in     %s, folder %s, %s, %s, at %s", r.Mailbox, r.Folder, identityText(r), octets(r.Octets), at(&r.SeenAt))
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
	if r.Disposition != nil {
		f.line("  server copy  %s", dispositionText(*r.Disposition, at(r.DisposeAt)))
	}
	for _, t := range r.Traces {
		f.line("  decided at %s:", at(&t.At))
		for _, s := range t.Steps {
			about := ""
			if s.Item > 0 {
				about = fmt.Sprintf(" (original %d)", s.Item)
			}
			f.line("    %-10s %s%s", s.Stage, s.Text(), about)
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

func dispositionText(d, when string) string {
	switch d {
	case "due":
		return "to be dealt with from " + when
	case "copied":
		return "copied to its folder, to be deleted from " + when
	case "done":
		return "dealt with, the server confirmed"
	}
	return "left alone: the server renumbered its messages"
}
