sluice_fuzzer(http_answer SOURCES http_answer_fuzz.cpp LIBRARIES sluice_net)
