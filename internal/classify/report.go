package classify

import (
	"regexp"
	"slices"
	"strings"

	"github.com/postroom/postroom/internal/eml"
)

// reportPart finds reports by their machine-readable part, whatever the report-type says and wherever it stands outside
// of message/* parts: gateways, footers and lists put reports into multipart/mixed.
func reportPart(o *outer) (Result, bool) {
	var found, typed Result
	for p := range o.m.Walk() {
		if c, ok := reportMediaTypes()[p.MediaType]; ok && found.Class == "" {
			found = Result{Class: c, Reason: p.MediaType}
		}
		if strings.HasPrefix(mediaTypeOf(p), "multipart/report") && typed.Class == "" {
			typed = byReportType(p.Params["report-type"])
		}
	}
	switch {
	case found.Class != "":
		return found, true
	case typed.Class != "":
		return typed, true
	}
	return Result{}, false
}

func reportMediaTypes() map[string]Class {
	return map[string]Class{
		"message/delivery-status":                 DSN,
		"message/global-delivery-status":          DSN,
		"message/feedback-report":                 ARF,
		"message/disposition-notification":        MDN,
		"message/global-disposition-notification": MDN,
	}
}

// byReportType classes a multipart/report that lacks its machine-readable part. A report of a type that is not known is
// still a report about mail: it is never unwrapped.
func byReportType(reportType string) Result {
	switch t := strings.ToLower(strings.TrimSpace(reportType)); t {
	case "feedback-report":
		return Result{Class: ARF, Reason: "multipart/report of type feedback-report"}
	case "disposition-notification":
		return Result{Class: MDN, Reason: "multipart/report of type disposition-notification"}
	case "delivery-status", "tlsrpt":
		return Result{Class: DSN, Reason: "multipart/report of type " + t}
	}
	return Result{Class: DSN, Reason: "multipart/report"}
}

// daemon finds bounces that are no multipart/report, by who sent them.
func daemon(o *outer) (Result, bool) {
	if has(o.header, "X-Failed-Recipients") {
		return Result{Class: DSN, Reason: "X-Failed-Recipients"}, true
	}
	switch senderKind(o.header) {
	case machineSender:
		return Result{Class: DSN, Reason: "sent by a mailer-daemon"}, true
	case roleSender:
		if o.holds && !o.ruleMadeBySender() {
			return Result{Class: DSN, Reason: "sent by a postmaster, with a message inside"}, true
		}
		if !o.holds && (o.nullReturnPath() || o.bounces()) {
			return Result{Class: DSN, Reason: "sent by a postmaster about a delivery"}, true
		}
	case otherSender:
	}
	return Result{}, false
}

type sender int

const (
	otherSender   sender = iota
	machineSender        // nobody's mailbox: mailer-daemon
	roleSender           // a machine's or a person's: postmaster
)

func senderKind(h eml.Header) sender {
	kind := otherSender
	for _, field := range h.All("From") {
		for _, a := range eml.ParseAddresses(field) {
			kind = max(kind, addressKind(a))
			if kind == machineSender {
				return kind
			}
		}
	}
	return kind
}

func addressKind(a eml.Address) sender {
	local, _, _ := strings.Cut(strings.ToLower(a.Address), "@")
	if local == "" { // not an address: "MAILER-DAEMON (Mail Delivery System)", "Mail Delivery Subsystem"
		local, _, _ = strings.Cut(strings.ToLower(strings.TrimSpace(a.Name)), " ")
		local, _, _ = strings.Cut(strings.Trim(local, `"<>`), "@")
	}
	switch local {
	case "mailer-daemon", "mailerdaemon", "mail-daemon", "maildaemon":
		return machineSender
	case "postmaster":
		return roleSender
	}
	name := strings.ToLower(strings.Trim(a.Name, ` "'`))
	for _, prefix := range []string{"mail delivery sys", "mail delivery sub", "mailer-daemon", "mailer daemon"} {
		if strings.HasPrefix(name, prefix) {
			return machineSender
		}
	}
	if slices.Contains([]string{"system administrator", "mail delivery", "mail administrator", "postmaster"}, name) {
		return roleSender
	}
	return otherSender
}

// bounceSubject matches what mail servers write above a bounce. It is looked at only where the sender is a postmaster.
var bounceSubject = regexp.MustCompile(`(?i)^\W*(undeliver|unzustellbar|non remis|returned mail|failure notice|mail delivery|` +
	`delivery (status|fail|delay|report|notif|has)|mail (system )?error|message (delivery|not delivered|undeliver)|` +
	`warning: (message|could not)|could not (send|deliver)|nondeliverable|mail status report)`)

// bounces reports whether a message says in any form that it is about a delivery.
func (o *outer) bounces() bool {
	return o.autoSubmitted() != "" || bounceSubject.MatchString(o.header.Text("Subject")) ||
		slices.ContainsFunc(slices.Collect(o.m.Walk()), func(p *eml.Part) bool { return p.MediaType == "text/rfc822-headers" })
}

// nullReturnPath reports whether the topmost Return-Path is null, in its usual spellings.
func (o *outer) nullReturnPath() bool {
	if !has(o.header, "Return-Path") {
		return false
	}
	path := strings.ToLower(strings.Trim(o.header.Get("Return-Path"), " \t\r\n"))
	path = strings.TrimSpace(strings.Trim(path, "<>"))
	return path == "" || path == "mailer-daemon" || strings.HasPrefix(path, "mailer-daemon@")
}
