package conformance

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"time"
)

// ReadReport reads what [Report.WriteJSON] has written. It returns an error if this
// suite could not have written the report. The report may be of an earlier release,
// which has fewer checks. If a waiver has expired since, its result becomes a Fail.
func ReadReport(r io.Reader) (*Report, error) {
	var report Report
	dec := json.NewDecoder(r)
	dec.DisallowUnknownFields()
	if err := dec.Decode(&report); err != nil {
		return nil, fmt.Errorf("airlock: conformance: report: %w", err)
	}
	if report.Schema != schema {
		return nil, fmt.Errorf("airlock: conformance: report: schema %q, want %q", report.Schema, schema)
	}
	var errs []error
	if len(report.Results) == 0 {
		errs = append(errs, errors.New("no results"))
	}
	seen := map[string]bool{}
	for i := range report.Results {
		res := &report.Results[i]
		if seen[res.Name()] {
			errs = append(errs, fmt.Errorf("%s appears twice", res.Name()))
		}
		seen[res.Name()] = true
		if err := res.plausible(); err != nil {
			errs = append(errs, err)
		}
	}
	claimed := report.Summary
	report.finish()
	if !maps.Equal(claimed, report.Summary) {
		errs = append(errs, fmt.Errorf("the summary is %v, but that of the results is %v", claimed, report.Summary))
	}
	if len(errs) > 0 {
		return nil, fmt.Errorf("airlock: conformance: report: %w", errors.Join(errs...))
	}
	now := time.Now()
	for i := range report.Results {
		res := &report.Results[i]
		if res.Verdict == Waived && !now.Before(res.Waiver.Expires) {
			res.Verdict, res.Reason = Fail, "its waiver has expired"
		}
	}
	report.finish()
	return &report, nil
}

// plausible returns an error for a result that the suite cannot have written.
func (r *Result) plausible() error {
	verdicts := []Verdict{Pass, Fail, RefusedAsDeclared, NotApplicable, NotRun, Inconclusive, Waived, Error}
	reasoned := []Verdict{RefusedAsDeclared, NotApplicable, NotRun, Inconclusive, Error}
	switch {
	case !known(r.Name()):
		return fmt.Errorf("%s: no such check", r.Name())
	case !slices.Contains([]Level{Core, Options, Faults, Inspect}, r.Level):
		return fmt.Errorf("%s: no level %q", r.Name(), r.Level)
	case !slices.Contains(verdicts, r.Verdict):
		return fmt.Errorf("%s: no verdict %q", r.Name(), r.Verdict)
	case r.Verdict == Fail && (r.Want == "" || r.Got == ""):
		return fmt.Errorf("%s: a failure without want or got", r.Name())
	case slices.Contains(reasoned, r.Verdict) && r.Reason == "":
		return fmt.Errorf("%s: %s without a reason", r.Name(), r.Verdict)
	case r.Verdict == Waived && (r.Waiver == nil || r.Waiver.Expires.IsZero()):
		return fmt.Errorf("%s: waived without a waiver", r.Name())
	}
	return nil
}
