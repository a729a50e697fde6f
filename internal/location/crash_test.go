package location

const childEnv = "LOCATION_TEST_CHILD"

func child() int { return 0 }
