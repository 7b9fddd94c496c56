package report

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/leastkey/leastkey/internal/domain/api"
	"github.com/leastkey/leastkey/internal/domain/finding"
)

// The part of SARIF 2.1.0 that a preflight fills (https://docs.oasis-open.org/sarif/sarif/v2.1.0/sarif-v2.1.0.html).
type (
	sarifLog struct {
		Schema  string     `json:"$schema"`
		Version string     `json:"version"`
		Runs    []sarifRun `json:"runs"`
	}
	sarifRun struct {
		Tool        sarifTool         `json:"tool"`
		Automation  sarifAutomation   `json:"automationDetails"`
		Invocations []sarifInvocation `json:"invocations"`
		Results     []sarifResult     `json:"results"`
		Columns     string            `json:"columnKind"`
		Properties  sarifSeal         `json:"properties"`
	}
	sarifTool struct {
		Driver sarifDriver `json:"driver"`
	}
	sarifDriver struct {
		Name           string      `json:"name"`
		FullName       string      `json:"fullName"`
		Organization   string      `json:"organization"`
		Version        string      `json:"version"`
		InformationURI string      `json:"informationUri"`
		Rules          []sarifRule `json:"rules"`
	}
	sarifRule struct {
		ID         string         `json:"id"`
		Name       string         `json:"name,omitempty"`
		Short      sarifText      `json:"shortDescription"`
		Full       sarifText      `json:"fullDescription"`
		Help       sarifText      `json:"help"`
		HelpURI    string         `json:"helpUri,omitempty"`
		Default    sarifDefault   `json:"defaultConfiguration"`
		Properties sarifRuleProps `json:"properties"`
	}
	sarifText struct {
		Text string `json:"text"`
	}
	sarifDefault struct {
		Level string `json:"level"`
	}
	sarifRuleProps struct {
		Category finding.Category `json:"category"`
		Severity finding.Severity `json:"severity"`
		Required bool             `json:"required"`
		Score    string           `json:"security-severity,omitempty"` // by which GitHub sorts
		Tags     []string         `json:"tags"`
	}
	sarifAutomation struct {
		ID          string    `json:"id"`
		Description sarifText `json:"description"`
	}
	sarifInvocation struct {
		Successful bool      `json:"executionSuccessful"`
		Start      time.Time `json:"startTimeUtc"`
		End        time.Time `json:"endTimeUtc"`
		Exit       int       `json:"exitCode"`
		Meaning    string    `json:"exitCodeDescription"`
	}
	sarifResult struct {
		RuleID       string            `json:"ruleId"`
		RuleIndex    int               `json:"ruleIndex"`
		Kind         string            `json:"kind"`
		Level        string            `json:"level"`
		Message      sarifText         `json:"message"`
		Locations    []sarifLocation   `json:"locations"`
		Fingerprints map[string]string `json:"partialFingerprints"`
		Baseline     string            `json:"baselineState,omitempty"`
		Properties   sarifResultProps  `json:"properties"`
	}
	sarifLocation struct {
		Logical []sarifLogical `json:"logicalLocations"`
	}
	sarifLogical struct {
		Name string `json:"name"`
		Full string `json:"fullyQualifiedName"`
		Kind string `json:"kind"`
	}
	sarifResultProps struct {
		Outcome  finding.Outcome `json:"outcome"`
		Cause    string          `json:"cause,omitempty"`
		Remedy   string          `json:"remedy,omitempty"`
		Evidence int             `json:"evidence"` // how many pieces the report has
	}
	// sarifSeal holds the report itself: what preflight verify reads.
	sarifSeal struct {
		Digest     string              `json:"digest"`
		LedgerHead string              `json:"ledgerHead"`
		Green      bool                `json:"green"`
		Counts     api.Counts          `json:"counts"`
		Report     api.PreflightReport `json:"report"`
	}
)

// sarif has a rule for each check, and a result for each answer, those that pass as well: a check that ran and passed is not one that never
// ran.
func sarif(r api.PreflightReport) sarifLog {
	run := sarifRun{
		Tool: sarifTool{sarifDriver{
			Name: "Leastkey", FullName: "Leastkey preflight", Organization: "Leastkey", Version: cmp.Or(r.Version, "0.0.0"),
			InformationURI: "https://github.com/leastkey/leastkey", Rules: []sarifRule{},
		}},
		Automation: sarifAutomation{"leastkey/preflight/" + r.Agent + "/" + r.ID, sarifText{"The preflight of agent " + r.Agent + " in tenant " + r.TenantID + "."}},
		Columns:    "utf16CodeUnits",
		Properties: sarifSeal{r.Digest, r.LedgerHead, r.Green, r.Counts, r},
		Results:    []sarifResult{},
	}
	began := r.At.UTC().Truncate(time.Millisecond) // SARIF 3.9: at most milliseconds
	run.Invocations = []sarifInvocation{{Successful: true, Start: began, End: began.Add(time.Duration(r.WallMS) * time.Millisecond), Exit: api.ExitDone, Meaning: "every required check passed"}}
	if !r.Green {
		run.Invocations[0].Exit, run.Invocations[0].Meaning = api.ExitFindings, "a check failed, or nobody could tell"
	}
	for i, f := range r.Findings {
		run.Tool.Driver.Rules = append(run.Tool.Driver.Rules, sarifRuleOf(f))
		run.Results = append(run.Results, sarifResultOf(r, i, f))
	}
	return sarifLog{Schema: "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json", Version: "2.1.0", Runs: []sarifRun{run}}
}

func sarifRuleOf(f finding.Finding) sarifRule {
	level := "error"
	if f.Severity == finding.Low {
		level = "warning"
	}
	return sarifRule{
		ID: f.ID, Name: pascal(f.ID), Short: sarifText{sentence(cmp.Or(f.Question, f.Name, f.ID))}, Full: sarifText{sentence(cmp.Or(f.Question, f.Name, f.ID))},
		Help: sarifText{sentence("What the check asks, how it decides and what to do is described at " + Website(cmp.Or(f.Docs, "docs/preflight.md")))}, HelpURI: Website(f.Docs),
		Default:    sarifDefault{level},
		Properties: sarifRuleProps{f.Category, f.Severity, f.Required, score(f.Severity), []string{"security", cmp.Or(string(f.Category), "preflight")}},
	}
}

func sarifResultOf(r api.PreflightReport, i int, f finding.Finding) sarifResult {
	res := sarifResult{
		RuleID: f.ID, RuleIndex: i, Message: sarifText{sentence(cmp.Or(f.Detail, string(f.Outcome)))},
		Locations:    []sarifLocation{{[]sarifLogical{{r.Agent, strings.Join([]string{string(r.Cloud), r.TenantID, r.Agent, cmp.Or(r.PrincipalID, "none")}, "/"), "resource"}}}},
		Fingerprints: map[string]string{"checkOfAgent/v1": fingerprint(string(r.Cloud), r.TenantID, r.Agent, f.ID)},
		Properties:   sarifResultProps{f.Outcome, f.Cause, f.Remedy, len(f.Evidence)},
	}
	if f.Remedy != "" {
		res.Message.Text += " To do: " + sentence(f.Remedy)
	}
	// Section 3.27.10: the level of a result of any other kind than fail is none.
	res.Kind, res.Level = "fail", "none"
	switch f.Outcome {
	case finding.Pass:
		res.Kind = "pass"
	case finding.Skip:
		res.Kind = "notApplicable"
	case finding.Warn:
		res.Level = "warning"
	case finding.Fail:
		res.Level = "error"
	default:
		res.Kind = "open"
	}
	res.Baseline = baseline(r, f.ID)
	return res
}

// baseline compares with the run before (section 3.27.24).
func baseline(r api.PreflightReport, id string) string {
	if r.Before == "" {
		return ""
	}
	for _, c := range r.Changes {
		switch {
		case c.ID != id:
		case c.Was == "":
			return "new"
		default:
			return "updated"
		}
	}
	return "unchanged"
}

// fingerprint is the same for the same check of the same agent in every run, whatever it finds.
func fingerprint(parts ...string) string {
	b, err := json.Marshal(parts)
	if err != nil {
		panic("report: texts do not encode: " + err.Error())
	}
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}

// score is the middle of CVSS's range of that name.
func score(s finding.Severity) string {
	switch s {
	case finding.Critical:
		return "9.5"
	case finding.High:
		return "8.0"
	case finding.Medium:
		return "5.5"
	case finding.Low:
		return "2.0"
	}
	return ""
}

// pascal is an id as SARIF wants a rule's name: ForeignCertificate. A name that is the id again has to be left out.
func pascal(id string) string {
	var b strings.Builder
	for part := range strings.FieldsFuncSeq(id, func(r rune) bool { return r == '-' || r == '_' || r == ' ' || r == '.' }) {
		b.WriteString(strings.ToUpper(part[:1]) + part[1:])
	}
	if strings.EqualFold(b.String(), id) {
		return ""
	}
	return b.String()
}

// sentence ends a text, as SARIF wants a message.
func sentence(s string) string {
	s = strings.TrimSpace(s)
	if s == "" || strings.ContainsAny(s[len(s)-1:], ".?!") {
		return s
	}
	return s + "."
}

// inJSON finds the report in a JSON document: itself, or that of a SARIF log.
func inJSON(b []byte) (Format, []byte, error) {
	var log struct {
		Runs []struct {
			Properties struct {
				Report json.RawMessage `json:"report"`
			} `json:"properties"`
		} `json:"runs"`
	}
	if err := json.Unmarshal(b, &log); err != nil {
		return "", nil, fmt.Errorf("it is not whole JSON")
	}
	switch {
	case log.Runs == nil:
		return JSON, b, nil
	case len(log.Runs) != 1 || log.Runs[0].Properties.Report == nil:
		return "", nil, fmt.Errorf("it is SARIF of another tool, or of several runs")
	}
	return SARIF, log.Runs[0].Properties.Report, nil
}
