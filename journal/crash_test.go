package journal_test

func child() bool { return false }
