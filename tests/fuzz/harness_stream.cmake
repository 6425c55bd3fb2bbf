sluice_fuzzer(sse_parser SOURCES sse_parser_fuzz.cpp LIBRARIES sluice_stream)
sluice_fuzzer(chat_event SOURCES chat_event_fuzz.cpp LIBRARIES sluice_stream)
