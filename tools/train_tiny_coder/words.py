"""Word lists and short texts from which the corpus is made. Written for this project."""

NOUNS = """apple river window garden mountain server stream token model letter number table chair lamp ocean forest bridge
castle dragon rabbit engine wheel clock mirror basket candle ladder bottle pencil paper island harbour village market
kitchen doctor teacher student farmer sailor painter robot rocket planet comet star moon cloud storm rain snow fire
stone sand leaf tree root flower seed bread butter cheese honey sugar coffee tea lemon orange banana cherry grape
horse tiger lion eagle falcon turtle whale dolphin spider ant bee butterfly frog snake mouse kitten puppy violin
piano drum guitar song story poem book page chapter library museum school road train ship car bicycle airport station
signal message report result error warning value list record queue buffer cache thread process memory disk network
request response client user session password account invoice order payment customer product price budget meeting
project deadline weather summer winter autumn spring morning evening night holiday birthday present puzzle riddle
secret treasure journey dream shadow light colour music dance game player winner score level world city country""".split()

ADJECTIVES = """red green blue small large quiet loud bright dark quick slow old young happy sad brave gentle clever
curious golden silver wooden broken hidden empty full warm cold sweet bitter soft hard deep tall short wide narrow
simple strange famous lonely friendly angry patient proud honest lucky tired hungry early late fresh heavy light
modern ancient distant secret perfect tiny huge round square smooth rough sharp wild calm busy lazy final first last
next main local global random public private daily weekly""".split()

VERBS = """finds follows carries builds opens closes watches paints writes reads holds leaves brings moves keeps
hides shows sends counts checks cleans repairs sells buys cooks eats likes visits remembers forgets needs wants helps
teaches learns throws catches draws starts stops""".split()

ADVERBS = """quickly slowly quietly often never always sometimes carefully happily again today tomorrow together alone
almost really suddenly finally""".split()

FIRST_NAMES = """Anna Ben Carla David Emma Felix Grace Henry Iris Jack Kate Liam Mia Noah Olivia Paul Rosa Sam Tom Uma
Victor Wendy Yara Zoe Alice Bob Carol Eve Frank Gina Hugo Jane John Lena Mark Nina Omar Peter Ruth Sara Tina Max Leo
Ella Lucy Oliver James Maria Robert Linda Susan Karen Kevin Brian Laura Julia Simon Martin Helen""".split()

PLACES = """London Paris Berlin Madrid Rome Vienna Oslo Tokyo Cairo Lima Boston Chicago Dublin Prague Warsaw Lisbon
Athens Helsinki Toronto Sydney""".split()

ANIMALS = "fox rabbit bear mouse owl cat dog frog turtle hedgehog squirrel sparrow lion goat horse duck".split()

PHRASES = ["Hello, World!", "Hello, world!", "Hello World", "hello world", "hello", "Hello", "Hi there", "Hi!", "Goodbye", "Welcome!", "Good morning",
  "Good night", "Thank you", "Test", "test", "testing", "This is a test", "foo", "bar", "foo bar", "OK", "Done", "done", "Success", "Error", "error",
  "Ready", "ready", "yes", "no", "Yes", "No", "It works!", "I love Python", "Python is fun", "Python", "The end", "Happy birthday!", "Merry Christmas",
  "12345", "42", "3.14159", "1 + 1 = 2", "a, b, c", "ping", "pong", "Sluice", "load test", "Load testing is fun", "How are you?", "My name is Anna",
  "Let's go", "I'm here", "it's fine", "100%", "a_b_c", "x = 1", "user@example.com", "http://localhost:8000", "2026-01-01", "Hello, Anna!", "---", "***", "==="]

LISTS = {
  "fruits": "apple banana cherry orange grape lemon mango pear plum peach kiwi melon".split(),
  "colours": "red green blue yellow orange purple pink brown black white grey gold".split(),
  "colors": "red green blue yellow orange purple pink brown black white gray gold".split(),
  "animals": "cat dog horse lion tiger elephant rabbit bear wolf fox mouse owl".split(),
  "cities": "London Paris Berlin Madrid Rome Vienna Oslo Tokyo Cairo Lima Boston Dublin".split(),
  "countries": "France Germany Spain Italy Norway Japan Egypt Peru Canada India Brazil Kenya".split(),
  "planets": "Mercury Venus Earth Mars Jupiter Saturn Uranus Neptune".split(),
  "days of the week": "Monday Tuesday Wednesday Thursday Friday Saturday Sunday".split(),
  "months": "January February March April May June July August September October November December".split(),
  "vegetables": "carrot potato tomato onion pepper spinach broccoli cabbage pea bean leek pumpkin".split(),
  "programming languages": "Python C C++ Java JavaScript Go Rust Ruby Swift Kotlin Haskell Lua".split(),
  "musical instruments": "piano violin guitar drum flute trumpet cello harp clarinet saxophone organ oboe".split(),
  "Python keywords": "def if else for while return class import from try except with".split(),
  "Python data types": "int float str bool list tuple dict set bytes complex range frozenset".split(),
}

CAPITALS = {"France": "Paris", "Germany": "Berlin", "Spain": "Madrid", "Italy": "Rome", "Austria": "Vienna", "Norway": "Oslo", "Japan": "Tokyo",
  "Egypt": "Cairo", "Peru": "Lima", "Ireland": "Dublin", "Portugal": "Lisbon", "Greece": "Athens", "Finland": "Helsinki", "Sweden": "Stockholm",
  "Denmark": "Copenhagen", "Poland": "Warsaw", "Hungary": "Budapest", "England": "London", "Canada": "Ottawa", "Australia": "Canberra",
  "India": "New Delhi", "China": "Beijing", "Kenya": "Nairobi", "Cuba": "Havana", "Chile": "Santiago", "Brazil": "Brasilia",
  "Russia": "Moscow", "Turkey": "Ankara", "Switzerland": "Bern", "Belgium": "Brussels", "the Netherlands": "Amsterdam", "the United States": "Washington"}

OPPOSITES = {"hot": "cold", "big": "small", "fast": "slow", "up": "down", "left": "right", "light": "dark", "old": "young", "happy": "sad",
  "early": "late", "open": "closed", "full": "empty", "hard": "soft", "high": "low", "long": "short", "loud": "quiet", "wet": "dry"}

# topic -> sentences, said in this order
TOPICS = {
  "Python": ["Python is a programming language that is known for readable code.", "Blocks are marked by indentation instead of braces.", "It comes with a large standard library.", "Programs are run by an interpreter, so there is no separate build step.", "It is used for scripts, web servers, data analysis and machine learning.", "A file that ends in .py can be run with the command python3."],
  "load testing": ["Load testing shows how a server behaves when many users call it at once.", "Virtual users send requests for some time, in stages that go up and down.", "The tool measures how long each answer takes and how many fail.", "Results are given as percentiles, because a mean hides the slow answers.", "A threshold such as p(95) < 500 ms turns the result into a pass or a fail.", "It is best to run the test on a machine that is not the server itself."],
  "streaming": ["Streaming means that an answer is sent in pieces while it is still being made.", "Each piece is called a chunk.", "The time to the first token tells how soon the reader sees something.", "The gaps between chunks tell how smooth the answer feels.", "Servers often send the chunks as server-sent events over HTTP."],
  "HTTP": ["HTTP is the protocol that browsers and servers use to talk.", "A client sends a request with a method, a path and headers.", "The server answers with a status code, headers and often a body.", "The code 200 means that all went well, 404 means that nothing was found.", "Many requests can share one connection."],
  "machine learning": ["Machine learning lets a computer learn a task from examples.", "A model has many numbers, called weights.", "Training changes the weights step by step so that the errors become smaller.", "After training, the model is used on new data that it has not seen.", "A good test set shows whether it has learnt or only memorised."],
  "neural networks": ["A neural network is a function made of layers.", "Each layer multiplies its input by weights and applies a simple function.", "Training adjusts the weights with the help of gradients.", "Deep networks have many layers."],
  "recursion": ["Recursion means that a function calls itself.", "Each call works on a smaller part of the problem.", "A base case stops the chain of calls.", "The factorial of a number is a common example.", "Too many nested calls raise a RecursionError in Python."],
  "a variable": ["A variable is a name for a value.", "In Python it is made by an assignment such as x = 1.", "The value can be changed later.", "Good names make a program easier to read."],
  "a function": ["A function is a named block of code.", "It takes arguments and can return a value.", "In Python it starts with the word def.", "Functions let you use the same code in many places."],
  "a loop": ["A loop runs the same block of code many times.", "A for loop goes over the items of a sequence.", "A while loop runs as long as its condition is true.", "The word break ends a loop early."],
  "a list": ["A list holds many values in order.", "In Python it is written with square brackets.", "Items are read by their index, which starts at 0.", "The method append adds an item at the end."],
  "a dictionary": ["A dictionary maps keys to values.", "In Python it is written with braces.", "A value is read by its key in square brackets.", "Keys are unique."],
  "a class": ["A class describes a kind of object.", "It holds data and the functions that work on the data.", "In Python it starts with the word class.", "The method __init__ sets up a new object."],
  "an API": ["An API is a set of rules by which programs talk to each other.", "A web API is called over HTTP.", "Requests and answers are often written in JSON.", "Good documentation tells which calls there are."],
  "JSON": ["JSON is a text format for data.", "It knows objects, lists, strings, numbers, true, false and null.", "Python reads and writes it with the module json."],
  "the main guard": ["The main guard is the line that compares __name__ with __main__.", "Code below it runs only when the file is started as a program.", "When the file is imported, that code is left out."],
  "git": ["Git keeps the history of a project.", "A commit records a set of changes with a message.", "Branches let people work at the same time.", "A merge brings branches together."],
  "Linux": ["Linux is the kernel of many operating systems.", "It runs on phones, servers and supercomputers.", "Programs talk to it by system calls.", "It is free software."],
  "a database": ["A database stores data so that it can be found quickly.", "Many databases understand the language SQL.", "Indexes make searches faster.", "Transactions keep the data consistent."],
  "caching": ["Caching keeps results so that they need not be computed again.", "A hit is fast, a miss has to do the work.", "Old entries must be removed at some point.", "A cache is only useful when the same things are asked for often."],
  "a GPU": ["A GPU is a processor with very many small cores.", "It was made for graphics and is now used for machine learning.", "It is fast when the same operation is done on much data.", "Its memory is separate from that of the CPU."],
  "the sun": ["The sun is a star.", "It gives the earth light and warmth.", "It is about 150 million kilometres away.", "Its energy comes from fusion."],
  "the moon": ["The moon moves around the earth in about a month.", "It shines because it reflects the light of the sun.", "Its pull causes the tides."],
  "rain": ["Rain forms when water vapour cools down in clouds.", "Small drops join until they are heavy enough to fall.", "Plants and animals need it."],
  "the sea": ["The sea covers most of the earth.", "Its water is salty.", "Waves are made by the wind, tides by the moon.", "Many animals live in it."],
  "photosynthesis": ["Photosynthesis is how plants make sugar from light.", "They take in water and carbon dioxide.", "Oxygen is released into the air.", "It happens in the green parts of the leaves."],
  "quantum computing": ["Quantum computing uses the rules of very small particles.", "A qubit can be in a mix of 0 and 1.", "Some problems can be solved much faster that way.", "The machines are still hard to build."],
  "artificial intelligence": ["Artificial intelligence is the field of making machines that solve tasks which need thought.", "Today most of it is machine learning.", "Language models are one example.", "I am a very small one of them."],
  "the internet": ["The internet is a network of networks.", "Data travels in small packets.", "Each machine has an address.", "The web is only one of its services."],
  "sorting": ["Sorting puts values in order.", "Python has the function sorted for it.", "Good methods need about n log n comparisons.", "A stable sort keeps equal items in their order."],
  "testing": ["Testing shows whether a program does what it should.", "A unit test checks one small part.", "A good test fails when the code is wrong.", "Tests should run fast, so that they are run often."],
}

JOKES = ["Why do programmers like the dark? Because light attracts bugs.", "There are 10 kinds of people: those who know binary and those who do not.",
  "Why did the list go to the doctor? It had lost its index.", "A loop walks into a bar, and walks into a bar, and walks into a bar."]

# Programs that are beyond the model.
PROJECTS = ["a linked list", "a web server", "a chat bot", "a tic-tac-toe game", "a snake game", "a REST API", "a binary tree", "a stack", "a queue", "a web scraper", "a to-do list", "a neural network", "a tokenizer", "a compiler", "a parser",
  "a regular expression", "a hash table", "a graph", "a database", "a load balancer", "a rate limiter", "a thread pool", "an LRU cache", "a decorator", "a generator", "a context manager", "an email client", "a password generator", "a sudoku solver",
  "a chess engine", "a file server", "a clock", "a timer", "an unit test", "a logger", "a Flask application", "a FastAPI server", "a command line tool", "a TCP server", "an async function", "Dijkstra's algorithm", "breadth first search", "depth first search",
  "a priority queue", "a trie", "a matrix multiplication", "the game of life", "a bank account class", "a text adventure", "a weather app", "a currency converter", "a JSON parser", "a markdown parser", "a key value store"]
