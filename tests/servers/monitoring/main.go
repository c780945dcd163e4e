// monitoring checks what a cluster is given to watch this project with, by the parsers and the rule engine of Prometheus and
// by the types of Grafana's dashboards. It prints the number of rules, tests or queries that it checked, or what is wrong,
// and then exits with 1.
//
//	monitoring rules FILE...        groups of rules: names, labels, durations, templates, expressions
//	monitoring test FILE...         unit tests of alerts, in the format of promtool
//	monitoring dashboards FILE...   dashboards of Grafana, with every PromQL query in them
package main

import (
	"fmt"
	"os"

	"github.com/prometheus/prometheus/promql/parser"
)

var promql = parser.NewParser(parser.Options{})

func main() {
	checks := map[string]func(file string) (int, []error){"rules": checkRules, "test": runTests, "dashboards": checkDashboard}
	if len(os.Args) < 3 || checks[os.Args[1]] == nil {
		fmt.Fprintln(os.Stderr, "usage: monitoring rules|test|dashboards FILE...")
		os.Exit(2)
	}
	checked, faults := 0, 0
	for _, file := range os.Args[2:] {
		count, errs := checks[os.Args[1]](file)
		for _, err := range errs {
			fmt.Fprintf(os.Stderr, "%s: %v\n", file, err)
			faults++
		}
		checked += count
	}
	fmt.Println(checked)
	if faults > 0 || checked == 0 {
		os.Exit(1)
	}
}
